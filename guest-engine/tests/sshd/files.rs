//! `sftp` and `scp`.

use crate::fixture::Fixture;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

#[test]
fn scp_brings_a_file_there_and_back_unchanged() {
    let fixture = Fixture::start();
    let content: Vec<u8> = (0..5_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    fs::write(fixture.path("original"), &content).unwrap();
    fs::set_permissions(fixture.path("original"), fs::Permissions::from_mode(0o640)).unwrap();
    let remote = format!("root@127.0.0.1:{}", fixture.path("remote").display());
    let put = fixture.scp().arg("-p").arg(fixture.path("original")).arg(&remote).output().unwrap();
    assert!(put.status.success(), "{put:?}");
    let get = fixture.scp().arg(&remote).arg(fixture.path("back")).output().unwrap();
    assert!(get.status.success(), "{get:?}");
    assert_eq!(fs::read(fixture.path("back")).unwrap(), content);
    let (original, remote) =
        (fs::metadata(fixture.path("original")).unwrap(), fs::metadata(fixture.path("remote")).unwrap());
    assert_eq!(remote.permissions().mode() & 0o777, 0o640);
    assert_eq!(
        remote.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(),
        original.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    );
}

#[test]
fn sftp_does_what_a_file_manager_needs() {
    let fixture = Fixture::start();
    fs::write(fixture.path("local"), "hello").unwrap();
    let folder = fixture.path("there");
    let there = folder.display();
    let local = fixture.path("local");
    let script = format!(
        "mkdir {there}\nput {} {there}/a\nrename {there}/a {there}/b\nln -s b {there}/link\nln {there}/b {there}/hard\n\
         chmod 600 {there}/b\nls -l {there}\nget {there}/link {}\nrm {there}/hard\nmkdir {there}/sub\nrmdir {there}/sub\n\
         -get {there}/missing\nput {} {there}/b\n",
        local.display(),
        fixture.path("fetched").display(),
        local.display()
    );
    let mut sftp = fixture.sftp();
    let mut sftp = sftp
        .args(["-b", "-", "root@127.0.0.1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    sftp.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = sftp.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(fixture.path("fetched")).unwrap(), b"hello");
    assert_eq!(fs::read_link(folder.join("link")).unwrap().to_str(), Some("b"));
    assert_eq!(fs::metadata(folder.join("b")).unwrap().permissions().mode() & 0o777, 0o600);
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["b", "link"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not found"));
}
