//! gRPC's reflection service: it describes the services and their messages to tools.

use std::collections::{BTreeSet, VecDeque};
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

use crate::call::{Call, End, decode};
use crate::grpc::code::Code;
use crate::method::served;
use crate::proto::DESCRIPTORS;
use crate::proto::reflection::server_reflection_request::MessageRequest as Question;
use crate::proto::reflection::server_reflection_response::MessageResponse as Answer;
use crate::proto::reflection::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
    ServiceResponse,
};

static FILES: LazyLock<Vec<FileDescriptorProto>> =
    LazyLock::new(|| FileDescriptorSet::decode(DESCRIPTORS).map(|set| set.file).unwrap_or_default());

/// Answer each question.
pub(super) async fn reflect(call: &mut Call) -> Result<(), End> {
    while let Some(bytes) = call.receive().await? {
        let request: ServerReflectionRequest = decode(bytes)?;
        let answer = answer(call, request.message_request.as_ref());
        let response = ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        };
        call.send(&response).await?;
    }
    Ok(())
}

fn answer(call: &Call, question: Option<&Question>) -> Answer {
    let found = match question {
        Some(Question::ListServices(_)) => {
            let service = |name: &&str| ServiceResponse { name: (*name).to_owned() };
            let service = served(&call.shared.settings).iter().map(service).collect();
            return Answer::ListServicesResponse(ListServiceResponse { service });
        }
        Some(Question::FileByFilename(name)) => FILES.iter().find(|file| file.name() == name),
        Some(Question::FileContainingSymbol(symbol)) => FILES.iter().find(|file| has(file, symbol)),
        _ => None,
    };
    match found {
        Some(file) => {
            Answer::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto: with_imports(file) })
        }
        None => Answer::ErrorResponse(ErrorResponse {
            error_code: Code::NotFound as i32,
            error_message: "there is no such file or symbol".to_owned(),
        }),
    }
}

/// A file and all files that it imports, directly or not, each once.
fn with_imports(file: &FileDescriptorProto) -> Vec<Vec<u8>> {
    let mut waiting = VecDeque::from([file]);
    let (mut seen, mut encoded) = (BTreeSet::from([file.name()]), Vec::new());
    while let Some(file) = waiting.pop_front() {
        encoded.push(file.encode_to_vec());
        let imports = FILES.iter().filter(|other| file.dependency.iter().any(|name| name == other.name()));
        waiting.extend(imports.filter(|other| seen.insert(other.name())));
    }
    encoded
}

/// Whether a file declares a service, a method, a message or an enum with this full name.
fn has(file: &FileDescriptorProto, symbol: &str) -> bool {
    let Some(name) = symbol.strip_prefix(file.package()).and_then(|rest| rest.strip_prefix('.')) else { return false };
    let service = |service: &prost_types::ServiceDescriptorProto| match name.strip_prefix(service.name()) {
        Some("") => true,
        Some(rest) => service.method.iter().any(|method| rest.strip_prefix('.') == Some(method.name())),
        None => false,
    };
    file.service.iter().any(service)
        || file.enum_type.iter().any(|each| each.name() == name)
        || file.message_type.iter().any(|message| declares(message, name))
}

fn declares(message: &DescriptorProto, name: &str) -> bool {
    match name.strip_prefix(message.name()) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(|rest| {
            message.nested_type.iter().any(|nested| declares(nested, rest))
                || message.enum_type.iter().any(|each| each.name() == rest)
        }),
        None => false,
    }
}
