//! Records which compiler built the binary, for `run.json`.

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = std::process::Command::new(rustc).arg("-V").output();
    let version = version.ok().and_then(|o| String::from_utf8(o.stdout).ok()).unwrap_or_default();
    println!("cargo::rustc-env=SIM_RUSTC={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
