//! The stand-in's camera: the same small picture over and over.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Shared;

/// A login has to come in this time.
const IDLE: Duration = Duration::from_secs(10);
/// Pause between two pictures.
const EVERY: Duration = Duration::from_secs(1);
/// One grey pixel as JPEG.
const PICTURE: &[u8] = &[
    0xff, 0xd8, 0xff, 0xdb, 0, 67, 0, 3, 2, 2, 2, 2, 2, 3, 2, 2, 2, 3, 3, 3, 3, 4, 6, 4, 4, 4, 4, 4, 8, 6, 6,
    5, 6, 9, 8, 10, 10, 9, 8, 9, 9, 10, 12, 15, 12, 10, 11, 14, 11, 9, 9, 13, 17, 13, 14, 15, 16, 16, 17, 16,
    10, 12, 18, 19, 18, 16, 19, 15, 16, 16, 16, 0xff, 0xc9, 0, 11, 8, 0, 1, 0, 1, 1, 1, 17, 0, 0xff, 0xcc, 0,
    6, 0, 16, 16, 5, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xd2, 0xcf, 32, 0xff, 0xd9,
];

/// Serves a viewer until it leaves. A wrong code ends the connection without a word, as on real ones.
pub async fn serve(mut stream: TlsStream<TcpStream>, shared: Arc<Shared>) {
    let mut login = [0; 80];
    let Ok(Ok(_)) = tokio::time::timeout(IDLE, stream.read_exact(&mut login)).await else {
        return;
    };
    let text = |from: usize| {
        let field = login.get(from..from + 32).unwrap_or_default();
        String::from_utf8_lossy(field).trim_end_matches('\0').to_owned()
    };
    if text(16) != "bblp" || text(48) != shared.options.code {
        return;
    }
    let mut head = [0; 16];
    if let Some(size) = head.first_chunk_mut() {
        *size = (PICTURE.len() as u32).to_le_bytes();
    }
    loop {
        for part in [head.as_slice(), PICTURE] {
            if stream.write_all(part).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
