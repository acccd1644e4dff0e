"""containerd's services as messages and stubs, made by `.ci/protos` from the .proto files here. Never edit the others."""
