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

/// The JSON of messages, for callers that are not written in Rust.
const JSON: &str = "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default, deny_unknown_fields)]";
const TIME: &str = "#[serde(with = \"crate::times::json\")]";
const MASK: &str = "#[serde(with = \"crate::values::mask_json\")]";
const SKIPPED: &str = "#[serde(skip)]";

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
        .message_attribute(".containerd.services.content", JSON)
        .message_attribute(".containerd.services.images", JSON)
        .message_attribute(".containerd.services.leases", JSON)
        .message_attribute(".containerd.types", JSON)
        .field_attribute("created_at", TIME)
        .field_attribute("updated_at", TIME)
        .field_attribute("started_at", TIME)
        .field_attribute("update_mask", MASK)
        .field_attribute(".containerd.services.content.v1.WriteContentRequest.data", SKIPPED)
        .field_attribute(".containerd.services.content.v1.ReadContentResponse.data", SKIPPED)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
