//! Compiles proto/curp.proto with protox, so that no protoc is needed.

use prost::Message;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/curp.proto"], ["proto"])?;
    let path = PathBuf::from(std::env::var("OUT_DIR")?).join("curp.descriptors");
    std::fs::write(&path, descriptors.encode_to_vec())?;
    let build = tonic_build::configure().file_descriptor_set_path(path).skip_protoc_run();
    build.compile_protos(&["proto/curp.proto"], &["proto"])?;
    Ok(())
}
