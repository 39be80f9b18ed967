//! The committed code is what the `.proto` files give.
//!
//! `GODFS_REGENERATE=1 cargo test -p godfs-proto` writes it anew.

use std::fs;
use std::path::Path;

use prost::Message;

const FILES: [&str; 5] = [
    "godfs/v1/common.proto",
    "godfs/v1/namespace.proto",
    "godfs/v1/chunk.proto",
    "godfs/v1/datanode.proto",
    "godfs/v1/admin.proto",
];

#[test]
fn generated_code_is_what_is_committed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([root.join("proto")]).expect("proto folder");
    compiler.include_imports(true).include_source_info(true).open_files(FILES).expect("valid protobuf");
    let with_comments = compiler.file_descriptor_set();
    let mut bare = with_comments.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }

    let out = tempfile::tempdir().expect("temporary folder");
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(true)
        .build_server(true)
        .out_dir(out.path())
        .compile_fds(with_comments)
        .expect("generate");
    fs::write(out.path().join("descriptor.bin"), bare.encode_to_vec()).expect("write");

    let committed = root.join("src/gen");
    for name in ["godfs.v1.rs", "descriptor.bin"] {
        let fresh = fs::read(out.path().join(name)).expect("generated");
        if std::env::var_os("GODFS_REGENERATE").is_some() {
            fs::create_dir_all(&committed).expect("folder");
            fs::write(committed.join(name), &fresh).expect("write");
        }
        let kept = fs::read(committed.join(name)).unwrap_or_default();
        assert!(
            kept == fresh,
            "src/gen/{name} is not what the .proto files give: run GODFS_REGENERATE=1 cargo test -p godfs-proto"
        );
    }
}
