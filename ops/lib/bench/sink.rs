//! An HTTP server that answers like ClickHouse and swallows what it gets, as fast as this machine can.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

/// Serves for ever, each request on a connection of its own. Says its port first, then a line a request.
/// Bodies are appended to `dump`, if there is one.
pub fn serve(dump: Option<&str>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut dump = dump.map(|path| File::create(path).expect("a file"));
    println!(
        "{{\"port\": {}}}",
        listener.local_addr().expect("address").port()
    );
    for stream in listener.incoming().flatten() {
        // A client that goes away is what the caller asked for.
        let _ = answer(stream, dump.as_mut());
    }
}

fn answer(stream: TcpStream, mut dump: Option<&mut File>) -> std::io::Result<()> {
    let mut stream = BufReader::with_capacity(1 << 20, stream);
    let (mut head, mut line) = (String::new(), String::new());
    while stream.read_line(&mut line)? > 2 {
        head.push_str(&line);
        line.clear();
    }
    let at = now();
    let lower = head.to_ascii_lowercase();
    let length: u64 = lower
        .split_once("content-length:")
        .and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok())
        .unwrap_or(0);
    if lower.contains("100-continue") {
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut left = length;
    let mut started = None;
    let insert = lower
        .lines()
        .next()
        .is_some_and(|l| l.contains("insert_deduplication_token="));
    let mut sql = String::new();
    if !insert {
        (&mut stream).take(length).read_to_string(&mut sql)?;
        left = 0;
    }
    while left > 0 {
        let piece = stream.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        started.get_or_insert_with(now);
        let n = piece.len().min(left as usize);
        if let Some(dump) = dump.as_mut() {
            dump.write_all(&piece[..n])?;
        }
        stream.consume(n);
        left -= n as u64;
    }
    let end = now();
    let body = tables(&sql);
    write!(
        stream.get_mut(),
        "HTTP/1.1 200 OK\r\nX-ClickHouse-Summary: {{\"written_rows\":\"1\"}}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let body = started.unwrap_or(end);
    let target = head.split(' ').nth(1).unwrap_or_default();
    println!(
        "{{\"insert\": {insert}, \"target\": {target:?}, \"bytes\": {length}, \"at\": {at:.6}, \"body\": {body:.6}, \"end\": {end:.6}}}"
    );
    Ok(())
}

/// That every table asked for exists.
fn tables(sql: &str) -> String {
    let names = sql.split(" IN (").nth(1).unwrap_or_default();
    let names = names.split(')').next().unwrap_or_default();
    names
        .split(',')
        .map(|name| name.trim().trim_matches('\''))
        .filter(|name| !name.is_empty())
        .map(|name| format!("{name}\tMergeTree\tid\t10000\t10000\t26.9.2.1\n"))
        .collect()
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |s| s.as_secs_f64())
}
