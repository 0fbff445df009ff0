//! The server's binary. `cargo server` builds it for real; the workspace's own build is for simulation, where it has nothing to do.

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    server::real::main(std::env::args().skip(1))
}

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    eprintln!("server: this build is for simulation (--cfg madsim); `cargo server` builds and runs the real one");
    std::process::ExitCode::from(64)
}
