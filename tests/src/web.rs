//! A web server in the test's own process: files of a folder as they are, and git repositories by the program
//! that serves them everywhere.

use crate::network::Network;
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};
use tempfile::TempDir;

/// Serves until the test's process ends.
#[derive(Debug)]
pub struct Web {
    folder: TempDir,
    /// `http://host:port`.
    pub url: String,
}

impl Web {
    /// Listens in `network` at `address`.
    pub fn start(network: &Network, address: &str) -> Result<Self> {
        let (listener, folder) = (network.listen(address)?, TempDir::with_prefix("w-")?);
        let root = folder.path().to_owned();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let root = root.clone();
                // A client that goes away ends its thread.
                thread::spawn(move || serve(connection, &root));
            }
        });
        Ok(Self { folder, url: format!("http://{address}") })
    }

    /// Where a file is to be put.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a repository `NAME.git` of one commit on `main`, tagged `v1`; says the commit.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> Result<String> {
        let work = self.path(name);
        fs::create_dir(&work)?;
        git(&work, &["init", "-q", "-b", "main"])?;
        let commit = self.commit(name, files)?;
        git(&work, &["tag", "-a", "-m", "one", "v1"])?;
        git(self.folder.path(), &["clone", "-q", "--bare", name, &format!("{name}.git")])?;
        Ok(commit)
    }

    /// Adds a commit on a new branch.
    pub fn branch(&self, name: &str, branch: &str, files: &[(&str, &str)]) -> Result<()> {
        let work = self.path(name);
        git(&work, &["checkout", "-q", "-b", branch])?;
        self.commit(name, files)?;
        git(&work, &["push", "-q", &format!("../{name}.git"), branch]).map(drop)
    }

    /// Adds another repository as a submodule, on `main`.
    pub fn submodule(&self, name: &str, path: &str, module: &str) -> Result<()> {
        let work = self.path(name);
        git(&work, &["checkout", "-q", "main"])?;
        let url = format!("../{module}.git");
        git(&work, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &url, path])?;
        git(&work, &["commit", "-q", "-m", "a submodule"])?;
        git(&work, &["push", "-q", &format!("../{name}.git"), "main"]).map(drop)
    }

    fn commit(&self, name: &str, files: &[(&str, &str)]) -> Result<String> {
        let work = self.path(name);
        for (path, content) in files {
            let path = work.join(path);
            fs::create_dir_all(path.parent().context("a file has a folder")?)?;
            fs::write(path, content)?;
        }
        git(&work, &["add", "."])?;
        git(&work, &["commit", "-q", "-m", "files"])?;
        git(&work, &["rev-parse", "HEAD"])
    }
}

/// Whatever the machine is configured to.
fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "init.templateDir="])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .context("Could not run git")?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn serve(connection: TcpStream, root: &Path) -> Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((key, value)) = header.trim().split_once(':') else { break };
            headers.insert(key.to_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next().context("a method")?, words.next().context("a path")?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, lines, content) = if path.contains(".git/") {
            of_git(root, method, path, query, &headers, &body)?
        } else {
            match fs::read(root.join(path.trim_start_matches('/'))) {
                Ok(content) => ("200 OK".to_owned(), String::new(), content),
                Err(_) => ("404 Not Found".to_owned(), String::new(), b"nothing here".to_vec()),
            }
        };
        write!(writer, "HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n", content.len())?;
        writer.write_all(&content)?;
    }
}

/// Asks git's own CGI program.
fn of_git(
    root: &Path,
    method: &str,
    path: &str,
    query: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> Result<(String, String, Vec<u8>)> {
    let header = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
    let mut program = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    program.stdin.take().context("git's stdin")?.write_all(body)?;
    let output = program.wait_with_output()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").context("git answers with headers")?;
    let (mut status, mut lines) = ("200 OK".to_owned(), String::new());
    for line in std::str::from_utf8(&output[..end])?.split("\r\n") {
        match line.strip_prefix("Status: ") {
            Some(other) => other.clone_into(&mut status),
            None => lines.push_str(&format!("{line}\r\n")),
        }
    }
    Ok((status, lines, output[end + 4..].to_vec()))
}
