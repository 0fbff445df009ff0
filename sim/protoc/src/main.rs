//! What prost's build scripts call `protoc` for: to write the descriptors of some files, with all that they import, to a file. Anything else is
//! refused. `ci/protoc` builds and runs it; `.cargo/config.toml` tells build scripts so. Only the crate etcd-client needs it, which the test of a
//! real cluster uses.

use std::path::PathBuf;
use std::process::ExitCode;

use prost::Message;

fn main() -> ExitCode {
    match compile(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("protoc: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn compile(mut words: impl Iterator<Item = String>) -> Result<(), String> {
    let (mut includes, mut files, mut output) = (Vec::new(), Vec::new(), None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            // Both are how it is done here in any case.
            "--include_imports" | "--include_source_info" => {}
            "-o" => output = Some(value()?),
            "-I" => includes.push(PathBuf::from(value()?)),
            other if other.starts_with('-') => return Err(format!("`{other}` is not understood by this stand-in")),
            file => files.push(PathBuf::from(file)),
        }
    }
    let output = output.ok_or("-o says where the descriptors go")?;
    let descriptors = protox::compile(files, includes).map_err(|error| error.to_string())?;
    std::fs::write(&output, descriptors.encode_to_vec()).map_err(|error| format!("{output}: {error}"))
}
