//! An HTTP server for one test, on a port of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Files;

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As it stood in the request: a path, or a whole URL if it came as to a proxy.
    pub target: String,
    /// Without the host, and without the slash at its start.
    pub path: String,
    /// The first byte that is asked for.
    pub from: Option<usize>,
    /// All headers, `name: value`, names in lower case.
    pub headers: Vec<String>,
}

/// What the server does instead of answering well.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status with headers (each with its line end) and a body, with its true length.
    Status(u16, String, Vec<u8>),
    /// The body instead of the file, resumable as a file is.
    Body(Vec<u8>),
    /// The file's true length, but only so many of its bytes, then the end of the connection.
    Broken(usize),
    /// So many bytes of the file, then silence.
    Silent(usize),
    /// Bytes without end and without a length.
    Endless,
    /// The file, without a length.
    Unmeasured(Vec<u8>),
}

type Hook = Box<dyn Fn(&Request) -> Option<Reply> + Send>;

/// Serves files until it is dropped.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    files: Arc<Mutex<Files>>,
    log: Arc<Mutex<Vec<Request>>>,
    hook: Arc<Mutex<Option<Hook>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts one.
    pub fn start(files: Files) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server {
            url,
            files: Arc::new(Mutex::new(files)),
            log: Arc::default(),
            hook: Arc::default(),
            stop: Arc::default(),
        };
        let (files, log, hook, stop) =
            (server.files.clone(), server.log.clone(), server.hook.clone(), server.stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (files, log, hook, stop) = (files.clone(), log.clone(), hook.clone(), stop.clone());
                std::thread::spawn(move || {
                    // The other side may be gone.
                    let _ = serve(stream, &files, &log, &hook, &stop);
                });
            }
        });
        server
    }

    /// Replaces what is served.
    pub fn serve(&self, files: Files) {
        *self.files.lock().unwrap() = files;
    }

    /// Changes one of the files.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.files.lock().unwrap().get_mut(path).unwrap());
    }

    /// Removes files.
    pub fn remove(&self, which: impl Fn(&str) -> bool) {
        self.files.lock().unwrap().retain(|path, _| !which(path));
    }

    /// From now on, `hook` decides first; where it says nothing, the file is served.
    pub fn hook(&self, hook: impl Fn(&Request) -> Option<Reply> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The paths of all requests so far.
    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }

    /// Forgets all requests so far.
    pub fn forget(&self) {
        self.log.lock().unwrap().clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn serve(
    stream: TcpStream,
    files: &Mutex<Files>,
    log: &Mutex<Vec<Request>>,
    hook: &Mutex<Option<Hook>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = read_request(&mut reader)? {
        log.lock().unwrap().push(request.clone());
        let file = files.lock().unwrap().get(&request.path).cloned();
        let reply = hook.lock().unwrap().as_ref().and_then(|hook| hook(&request));
        let file = match reply {
            None => file,
            Some(Reply::Body(body)) => Some(body),
            Some(Reply::Status(status, headers, body)) => {
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} Said so\r\nContent-Length: {length}\r\n{headers}\r\n")?;
                stream.write_all(&body)?;
                continue;
            }
            Some(Reply::Broken(bytes)) => {
                let file = file.unwrap_or_default();
                let from = request.from.unwrap_or(0).min(file.len());
                head(&mut stream, &file, request.from)?;
                return stream.write_all(&file[from..(from + bytes).min(file.len())]);
            }
            Some(Reply::Silent(bytes)) => {
                let file = file.unwrap_or_default();
                head(&mut stream, &file, None)?;
                stream.write_all(&file[..bytes.min(file.len())])?;
                stream.flush()?;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
            }
            Some(Reply::Endless) => {
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(&[b'x'; 4096])?;
                }
                return Ok(());
            }
            Some(Reply::Unmeasured(body)) => {
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                return stream.write_all(&body);
            }
        };
        match file {
            Some(file) => {
                let from = head(&mut stream, &file, request.from)?;
                stream.write_all(&file[from..])?;
            }
            None => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
    }
    Ok(())
}

/// Writes the head of a good answer; where its body begins.
fn head(stream: &mut TcpStream, file: &[u8], from: Option<usize>) -> std::io::Result<usize> {
    let length = file.len();
    match from {
        Some(from) if from >= length => {
            write!(stream, "HTTP/1.1 416 Range\r\nContent-Length: 0\r\n\r\n")?;
            Ok(length)
        }
        Some(from) => {
            let (left, last) = (length - from, length - 1);
            write!(
                stream,
                "HTTP/1.1 206 Partial\r\nContent-Length: {left}\r\nContent-Range: bytes {from}-{last}/{length}\r\n\r\n"
            )?;
            Ok(from)
        }
        None => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
            Ok(0)
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).unwrap_or_default().to_string();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((&header, ""));
        headers.push(format!("{}: {}", name.to_lowercase(), value.trim()));
    }
    let range = headers.iter().find_map(|header| header.strip_prefix("range: bytes=")?.strip_suffix('-'));
    let from = range.and_then(|from| from.parse().ok());
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => target.trim_start_matches('/'),
    };
    let path = path.to_string();
    Ok(Some(Request { target, path, from, headers }))
}
