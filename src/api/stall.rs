//! A connection whose other end stops taking bytes is given up, so that nobody holds a place by not
//! reading.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long the other end may take no byte while there are some for it.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// A stream with that limit.
#[derive(Debug)]
pub struct Unstalled<S> {
    stream: S,
    /// Runs while a write waits.
    limit: Pin<Box<Sleep>>,
    waits: bool,
}

impl<S> Unstalled<S> {
    /// Watches a stream.
    pub fn new(stream: S) -> Self {
        Unstalled {
            stream,
            limit: Box::pin(tokio::time::sleep(STALL_LIMIT)),
            waits: false,
        }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !self.waits {
            self.waits = true;
            self.limit.as_mut().reset(Instant::now() + STALL_LIMIT);
        }
        ready!(self.limit.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Unstalled::new(near);
        let writes = async {
            near.write_all(&[1; 640]).await.expect("slow, but taken");
            let began = Instant::now();
            let error = near.write_all(&[2; 640]).await.expect_err("nobody takes it");
            (error.kind(), began.elapsed())
        };
        let reads = async {
            let mut taken = [0; 64];
            for _ in 0..10 {
                tokio::time::sleep(STALL_LIMIT - Duration::from_secs(1)).await;
                far.read_exact(&mut taken).await.expect("bytes");
            }
            std::future::pending::<()>().await;
        };
        let (kind, after) = tokio::select! {
            ended = writes => ended,
            () = reads => unreachable!(),
        };
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert!(after >= STALL_LIMIT && after < STALL_LIMIT * 2, "{after:?}");
    }
}
