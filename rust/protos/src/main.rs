//! Generates the messages of the service from the .proto files: `steelyard-protos OUT INCLUDE… -- FILE…`.
#![allow(clippy::disallowed_methods, reason = "a program for developers, which touches no store")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use prost::Message as _;

/// Fields that may be large: they keep a part of the received message, without a copy.
const BULK: [&str; 2] =
    [".containerd.services.content.v1.WriteContentRequest", ".containerd.services.content.v1.ReadContentResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let out = PathBuf::from(arguments.next().ok_or("the folder for the generated files")?);
    let includes: Vec<_> = arguments.by_ref().take_while(|argument| argument != "--").collect();
    let files: Vec<_> = arguments.collect();
    let mut compiler = protox::Compiler::new(&includes)?;
    compiler.include_imports(true).open_files(&files)?;
    fs::write(out.join("descriptors.bin"), compiler.file_descriptor_set().encode_to_vec())?;
    prost_build::Config::new()
        .out_dir(&out)
        .bytes(BULK)
        .btree_map(["."])
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
