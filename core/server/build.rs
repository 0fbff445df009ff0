//! Compiles proto/ with protox, so that no protoc is needed.

use prost::Message;
use std::path::PathBuf;

const FILES: [&str; 3] = ["curp.proto", "etcd/mvcc.proto", "etcd/rpc.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(FILES, ["proto"])?;
    let path = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors");
    std::fs::write(&path, descriptors.encode_to_vec())?;
    let build = tonic_build::configure().file_descriptor_set_path(path).skip_protoc_run();
    build.compile_protos(&FILES.map(|file| format!("proto/{file}")), &["proto".to_owned()])?;
    Ok(())
}
