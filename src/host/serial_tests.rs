use std::os::unix::fs::symlink;

use super::*;

/// A made-up machine in a temporary directory.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
    pub roots: Roots,
}

impl Machine {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let roots = Roots::under(dir.path());
        for sub in [
            "dev/serial/by-id",
            "dev/serial/by-path",
            "sys/class/tty",
            "proc",
            "run/lock",
            "etc",
        ] {
            fs::create_dir_all(dir.path().join(sub)).expect("a directory");
        }
        Machine { dir, roots }
    }

    pub fn plug(&self, node: &str, place: &str, ids: (u16, u16), serial: Option<&str>) -> PathBuf {
        let device = self.roots.sys.join("devices/usb1").join(place);
        let interface = device.join(format!("{place}:1.0"));
        fs::create_dir_all(&interface).expect("a directory");
        fs::write(device.join("idVendor"), format!("{:04x}\n", ids.0)).expect("a file");
        fs::write(device.join("idProduct"), format!("{:04x}\n", ids.1)).expect("a file");
        if let Some(serial) = serial {
            fs::write(device.join("serial"), format!("{serial}\n")).expect("a file");
        }
        let class = self.roots.sys.join("class/tty").join(node);
        fs::create_dir_all(&class).expect("a directory");
        symlink(&interface, class.join("device")).expect("a link");
        let path = self.roots.dev.join(node);
        fs::write(&path, "").expect("a file");
        symlink(
            &path,
            self.roots
                .dev
                .join(format!("serial/by-path/pci-usb-0:{place}-port0")),
        )
        .expect("a link");
        // Twins fight for one name in by-id; the last one wins.
        let id = format!(
            "serial/by-id/usb-{:04x}_{}-if00-port0",
            ids.0,
            serial.unwrap_or("Serial")
        );
        let id = self.roots.dev.join(id);
        let _ = fs::remove_file(&id);
        symlink(&path, id).expect("a link");
        path
    }
}

fn stable_names(machine: &Machine) -> Vec<String> {
    list(&machine.roots)
        .iter()
        .map(|p| {
            let below = p
                .stable
                .strip_prefix(machine.dir.path())
                .expect("inside the machine");
            below.display().to_string()
        })
        .collect()
}

#[test]
fn a_serial_number_of_its_own_gives_a_name_by_id() {
    let machine = Machine::new();
    machine.plug("ttyACM0", "1-1", (0x2c99, 0x0002), Some("CZPX1017X003XC14071"));
    assert_eq!(
        stable_names(&machine),
        ["dev/serial/by-id/usb-2c99_CZPX1017X003XC14071-if00-port0"]
    );
    assert_eq!(list(&machine.roots)[0].label(), "Prusa printer");
}

#[test]
fn adapters_without_serial_number_go_by_their_plug() {
    let machine = Machine::new();
    machine.plug("ttyUSB0", "1-1.2", (0x1a86, 0x7523), None);
    machine.plug("ttyUSB1", "1-1.3", (0x1a86, 0x7523), None);
    assert_eq!(
        stable_names(&machine),
        [
            "dev/serial/by-path/pci-usb-0:1-1.2-port0",
            "dev/serial/by-path/pci-usb-0:1-1.3-port0"
        ]
    );
}

#[test]
fn twins_with_the_same_serial_number_go_by_their_plug() {
    let machine = Machine::new();
    machine.plug("ttyUSB0", "1-1.2", (0x10c4, 0xea60), Some("AB12CD"));
    machine.plug("ttyUSB1", "1-1.3", (0x10c4, 0xea60), Some("AB12CD"));
    machine.plug("ttyUSB2", "1-1.4", (0x10c4, 0xea60), Some("0001"));
    assert!(stable_names(&machine).iter().all(|n| n.contains("by-path")));
}

#[test]
fn a_klipper_board_is_seen_and_never_chosen() {
    let machine = Machine::new();
    machine.plug("ttyACM0", "1-1", (0x1d50, 0x614e), Some("1A0030000A51303"));
    let ports = list(&machine.roots);
    assert_eq!(ports[0].kind(), Kind::Klipper);
    assert!(!ports[0].may_be_printer());
}

#[test]
fn a_machine_without_sysfs_is_searched_by_names() {
    let machine = Machine::new();
    fs::remove_dir_all(&machine.roots.sys).expect("removable");
    for name in ["ttyUSB10", "ttyUSB2", "tty1", "ttyS", "console"] {
        fs::write(machine.roots.dev.join(name), "").expect("a file");
    }
    assert_eq!(stable_names(&machine), ["dev/ttyUSB2", "dev/ttyUSB10"]);
    assert_eq!(list(&Roots::under("/nowhere-at-all")), []);
}

#[test]
fn legacy_ports_without_a_chip_are_left_out() {
    let machine = Machine::new();
    for (name, kind) in [("ttyS0", "4"), ("ttyS1", "0")] {
        let class = machine.roots.sys.join("class/tty").join(name);
        fs::create_dir_all(&class).expect("a directory");
        fs::write(class.join("type"), format!("{kind}\n")).expect("a file");
        fs::write(machine.roots.dev.join(name), "").expect("a file");
    }
    assert_eq!(stable_names(&machine), ["dev/ttyS0"]);
}

#[test]
fn the_program_that_locked_a_port_is_named_without_opening_it() {
    let machine = Machine::new();
    let path = machine.plug("ttyUSB0", "1-1.2", (0x1a86, 0x7523), None);
    let meta = fs::metadata(&path).expect("metadata");
    let line = format!(
        "1: POSIX  ADVISORY  READ  9 08:01:1 0 EOF\n2: FLOCK  ADVISORY  WRITE 4242 {:02x}:{:02x}:{} 0 EOF\n",
        rustix::fs::major(meta.dev()),
        rustix::fs::minor(meta.dev()),
        meta.ino()
    );
    fs::write(machine.roots.proc.join("locks"), line).expect("a file");
    fs::create_dir_all(machine.roots.proc.join("4242")).expect("a directory");
    fs::write(machine.roots.proc.join("4242/comm"), "octoprint\n").expect("a file");
    let holder = list(&machine.roots)[0].holder.clone().expect("a holder");
    assert_eq!(holder.to_string(), "octoprint (process 4242)");
}

#[test]
fn a_lock_file_of_a_dead_process_means_nothing() {
    let machine = Machine::new();
    machine.plug("ttyUSB0", "1-1.2", (0x1a86, 0x7523), None);
    fs::write(machine.roots.run.join("lock/LCK..ttyUSB0"), "   4711\n").expect("a file");
    assert_eq!(list(&machine.roots)[0].holder, None);
    fs::create_dir_all(machine.roots.proc.join("4711")).expect("a directory");
    let holder = list(&machine.roots)[0].holder.clone().expect("a holder");
    assert_eq!(holder.to_string(), "process 4711");
}
