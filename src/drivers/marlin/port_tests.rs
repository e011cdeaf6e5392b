use std::os::unix::fs::symlink;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn pty() -> (OwnedFd, PathBuf) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    (master, PathBuf::from(name.into_string().expect("ascii")))
}

fn code<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    result.expect_err("a fault").code.to_string()
}

#[tokio::test]
async fn a_pty_carries_bytes_unchanged_both_ways() {
    let (master, path) = pty();
    let mut port = open(&path, 250_000, &Roots::default()).expect("open");
    assert_eq!(baud(&port), Some(250_000));
    rustix::io::write(&master, b"ok T:20\r\n\x03\x11\xff").expect("write");
    let mut got = [0; 12];
    port.read_exact(&mut got).await.expect("read");
    assert_eq!(&got, b"ok T:20\r\n\x03\x11\xff");
    port.write_all(b"N1 G28*18\n").await.expect("write");
    let mut got = [0; 10];
    rustix::io::read(&master, &mut got).expect("read");
    assert_eq!(&got, b"N1 G28*18\n");
    set_baud(&port, 115_200).expect("speed");
    assert_eq!(baud(&port), Some(115_200));
}

#[tokio::test]
async fn a_port_has_one_owner() {
    let (_master, path) = pty();
    let port = open(&path, 115_200, &Roots::default()).expect("open");
    assert_eq!(code(open(&path, 115_200, &Roots::default())), "serial/busy");
    drop(port);
    open(&path, 115_200, &Roots::default()).expect("free again");
}

#[tokio::test]
async fn closing_keeps_dtr_and_adopting_keeps_unread_bytes() {
    let (master, path) = pty();
    let port = open(&path, 250_000, &Roots::default()).expect("open");
    let settings = tcgetattr(borrow(&port)).expect("settings");
    assert!(!settings.control_modes.contains(ControlModes::HUPCL));
    let kept = borrow(&port).try_clone_to_owned().expect("a copy");
    rustix::io::write(&master, b"ok\n").expect("write");
    drop(port);
    let mut port = adopt(kept).expect("adopted");
    assert_eq!(baud(&port), Some(250_000));
    let mut got = [0; 3];
    port.read_exact(&mut got).await.expect("read");
    assert_eq!(&got, b"ok\n");
    assert_eq!(code(open(&path, 115_200, &Roots::default())), "serial/busy");
}

#[tokio::test]
async fn a_released_port_can_be_opened_though_a_copy_is_kept() {
    let (_master, path) = pty();
    let fd = open_fd(&path, 115_200, &Roots::default()).expect("open");
    let kept = fd.try_clone().expect("a copy");
    release(fd.as_fd());
    drop(fd);
    open_fd(&path, 115_200, &Roots::default()).expect("free");
    drop(kept);
}

#[tokio::test]
async fn a_pulled_cable_is_told() {
    let (master, path) = pty();
    let mut port = open(&path, 115_200, &Roots::default()).expect("open");
    let kept = borrow(&port).try_clone_to_owned().expect("a copy");
    drop(master);
    let error = match port.read(&mut [0; 8]).await {
        Err(error) => error,
        Ok(n) => {
            assert_eq!(n, 0, "bytes from a dead port");
            io::ErrorKind::UnexpectedEof.into()
        }
    };
    assert_eq!(lost(&path, &error).code, "serial/vanished");
    drop(port);
    assert_eq!(code(adopt(kept)), "serial/not-adopted");
}

#[tokio::test]
async fn what_is_not_a_port_is_called_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let roots = Roots::default();
    assert_eq!(code(open(dir.path(), 115_200, &roots)), "serial/not-a-port");
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("a file");
    assert_eq!(code(open(&file, 115_200, &roots)), "serial/not-a-port");
    assert_eq!(
        code(open(&dir.path().join("none"), 115_200, &roots)),
        "serial/not-there"
    );
    assert_eq!(
        code(examine(&dir.path().join("none"), &roots)),
        "serial/not-there"
    );
    assert_eq!(code(examine(dir.path(), &roots)), "serial/not-a-port");
    examine(&file, &roots).expect("nobody holds it");
}

#[test]
fn the_remedy_names_the_group() {
    let fault = faults::no_permission(Path::new("/dev/ttyUSB0"), Some("uucp"));
    assert!(fault.remedy.contains("usermod -aG uucp"), "{fault}");
    let fault = faults::no_permission(Path::new("/dev/ttyUSB0"), Some("dialout"));
    assert!(fault.remedy.contains("usermod -aG dialout"), "{fault}");
}

#[test]
fn auto_takes_the_only_adapter_and_stays_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let roots = Roots::under(dir.path());
    let pin = dir.path().join("state/ender3.port");
    let plug = |node: &str, place: &str, pid: &str| {
        let device = roots.sys.join("devices").join(place);
        fs::create_dir_all(&device).expect("a directory");
        fs::write(
            device.join("idVendor"),
            if pid == "614e" { "1d50" } else { "1a86" },
        )
        .expect("a file");
        fs::write(device.join("idProduct"), pid).expect("a file");
        let class = roots.sys.join("class/tty").join(node);
        fs::create_dir_all(&class).expect("a directory");
        symlink(&device, class.join("device")).expect("a link");
        fs::create_dir_all(&roots.dev).expect("a directory");
        fs::write(roots.dev.join(node), "").expect("a file");
    };
    assert_eq!(
        code(resolve(&PortSpec::Auto, &roots, Some(&pin))),
        "serial/none-found"
    );
    plug("ttyACM0", "1-9", "614e");
    assert_eq!(
        code(resolve(&PortSpec::Auto, &roots, Some(&pin))),
        "serial/none-found"
    );
    plug("ttyUSB0", "1-1", "7523");
    let first = resolve(&PortSpec::Auto, &roots, Some(&pin)).expect("found");
    assert_eq!(first, roots.dev.join("ttyUSB0"));
    plug("ttyUSB1", "1-2", "7523");
    assert_eq!(
        resolve(&PortSpec::Auto, &roots, Some(&pin)).expect("pinned"),
        first
    );
    let fault = resolve(&PortSpec::Auto, &roots, None).expect_err("two");
    assert_eq!(fault.code, "serial/several-found");
    assert!(fault.what.contains("ttyUSB1"), "{fault}");
    let named = resolve(&PortSpec::parse("/dev/ttyACM7"), &roots, Some(&pin)).expect("as told");
    assert_eq!(named, Path::new("/dev/ttyACM7"));
}

#[tokio::test(start_paused = true)]
async fn a_port_that_appears_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ttyUSB0");
    let plug = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        fs::write(&path, "").expect("a file");
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::join!(wait_for_port(&path), plug);
    });
    waited.await.expect("seen");
}
