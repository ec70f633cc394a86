//! The admin server's socket: one per agent, left behind by none.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use agent::admin::{Admin, BindError, Settings};

fn settings(dir: &Path) -> Settings {
    Settings { socket: dir.join("run/weir.sock"), http: None, token_file: None }
}

#[tokio::test]
async fn anyone_may_connect_and_the_file_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let admin = Admin::bind(&settings).unwrap();
    let mode = std::fs::metadata(admin.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    drop(admin);
    assert!(!settings.socket.exists());
}

#[tokio::test]
async fn a_second_agent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let first = Admin::bind(&settings).unwrap();
    assert!(matches!(Admin::bind(&settings), Err(BindError::Running(_))));
    assert!(first.socket().exists(), "the first one's socket is left alone");
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    std::fs::create_dir(dir.path().join("run")).unwrap();
    drop(UnixListener::bind(&settings.socket).unwrap());
    assert!(settings.socket.exists());
    Admin::bind(&settings).unwrap();
}

#[tokio::test]
async fn a_missing_or_empty_token_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let settings = Settings { token_file: Some(file.clone()), ..settings(dir.path()) };
    assert!(matches!(Admin::bind(&settings), Err(BindError::Token { .. })));
    std::fs::write(&file, "\n").unwrap();
    assert!(matches!(Admin::bind(&settings), Err(BindError::Token { .. })));
}
