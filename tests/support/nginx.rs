//! The real nginx, on a free port, with its files in a directory of its own. `ops/test` installs it.

use std::process::{Child, Command};

use super::stack::free_port;
use super::wait::wait;

/// Stops when dropped.
pub struct Nginx {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// With these directives for every path. `limit_req zone=z` passes one request a minute.
    pub fn start(location: &str) -> Nginx {
        Nginx::start_as("", location)
    }

    /// The same, with these words for how it listens, and further directives behind a semicolon.
    pub fn start_as(listen: &str, location: &str) -> Nginx {
        let dir = tempfile::tempdir().unwrap();
        let (at, port) = (dir.path().display(), free_port());
        let conf = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
             events {{}}
             http {{
               access_log off;
               client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};
               uwsgi_temp_path {at}; scgi_temp_path {at};
               limit_req_zone $server_port zone=z:1m rate=1r/m;
               server {{ listen 127.0.0.1:{port} {listen};
                 location / {{ {location} }} }}
             }}"
        );
        let path = dir.path().join("nginx.conf");
        std::fs::write(&path, conf).unwrap();
        let process = Command::new("nginx").arg("-c").arg(&path).spawn().unwrap();
        let nginx = Nginx {
            process,
            port,
            _dir: dir,
        };
        wait(
            || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
            || "nginx does not start".to_owned(),
        );
        nginx
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
