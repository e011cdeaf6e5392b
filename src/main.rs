//! layerd: the agent beside your 3D printers.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the whole process; a second call finds it installed and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    layerd::cli::main()
}
