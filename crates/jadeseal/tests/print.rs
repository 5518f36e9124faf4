//! What commands do where their output has nowhere to go.

use std::{
    fs::OpenOptions,
    io::pipe,
    process::{Command, Output, Stdio},
};

fn version(args: &[&str], out: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jadeseal"))
        .arg("version")
        .args(args)
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

#[test]
fn a_reader_who_is_gone_is_no_mistake() {
    for args in [&[][..], &["-o", "json"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let ended = version(args, writer.into());
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn a_full_disk_is_one() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = version(&[], full.into());
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.starts_with("jadeseal: cannot write to standard output: "), "{said}");
}
