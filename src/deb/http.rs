//! Fetching a URL: `http:`, `https:` and `file:`, through a proxy or not.
//!
//! Nothing that answers is trusted: it may be silent, endless, slow, or send us elsewhere.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::config::Config;
use ureq::http::{Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector, TcpConnector};

use super::proxy::ForwardProxy;
use crate::fault::reason;

/// How long a mirror may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until there is a connection.
    pub connect: Duration,
    /// Without a byte.
    pub silence: Duration,
    /// Between two tries.
    pub pause: Duration,
    /// How long it may be slower than `slowest`.
    pub slow: Duration,
    /// Bytes in a second.
    pub slowest: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(15),
            silence: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            slow: Duration::from_secs(60),
            slowest: 512,
        }
    }
}

/// Why a URL could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether trying again may help.
    pub kind: Kind,
    /// What went wrong, without the URL.
    pub reason: String,
}

/// What can be done about a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not there.
    NotFound,
    /// It may be better later.
    Passing,
    /// It will not get better.
    Lasting,
}

impl Failure {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Failure {
        Failure { kind, reason: reason.into() }
    }
}

/// What a URL gave.
pub struct Answer {
    /// The first byte that comes, counted from 0.
    pub from: u64,
    /// Bytes that are to come, if that was said.
    pub length: Option<u64>,
    reader: Box<dyn Read + Send>,
    patience: Patience,
    since: Instant,
    got: u64,
}

impl Answer {
    fn new(reader: Box<dyn Read + Send>, from: u64, length: Option<u64>, patience: Patience) -> Answer {
        Answer { from, length, reader, patience, since: Instant::now(), got: 0 }
    }

    /// Reads some bytes; none at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let read = match self.reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.read(buffer),
            read => read.map_err(|error| Failure::new(Kind::Passing, told_io(&error)))?,
        };
        self.got += read as u64;
        let elapsed = self.since.elapsed();
        if elapsed >= self.patience.slow {
            if self.got < self.patience.slowest * elapsed.as_secs().max(1) {
                return Err(Failure::new(Kind::Passing, "it answers too slowly"));
            }
            (self.since, self.got) = (Instant::now(), 0);
        }
        Ok(read)
    }
}

/// Fetches; keeps connections open for the next request.
pub struct Client {
    proxy: Option<String>,
    patience: Patience,
    plain: OnceLock<Result<Agent, Failure>>,
    secure: OnceLock<Result<Agent, Failure>>,
}

impl Client {
    /// A client that goes through the HTTP proxy `proxy`, if there is one.
    pub fn new(proxy: Option<String>, patience: Patience) -> Client {
        Client { proxy, patience, plain: OnceLock::new(), secure: OnceLock::new() }
    }

    /// How long it waits.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Begins to fetch `url`, from its byte `from` on if the other side can do that.
    pub fn get(&self, url: &str, from: u64) -> Result<Answer, Failure> {
        const MOST_REDIRECTS: usize = 5;
        if let Some(path) = url.strip_prefix("file://") {
            return self.get_file(path, from);
        }
        let mut url = url.to_string();
        for _ in 0..=MOST_REDIRECTS {
            match self.get_once(&url, from)? {
                Reply::Answer(answer) => return Ok(answer),
                Reply::Elsewhere(location) => url = follow(&url, &location)?,
            }
        }
        Err(Failure::new(Kind::Lasting, "it redirects in circles"))
    }

    fn get_once(&self, url: &str, from: u64) -> Result<Reply, Failure> {
        let mut request = self.agent(url)?.get(url);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| told(error, self.proxy.is_some()))?;
        let headers = response.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let status = response.status();
        let from = match status.as_u16() {
            200 => 0,
            206 if text(header::CONTENT_RANGE).and_then(range_start) == Some(from) => from,
            301 | 302 | 303 | 307 | 308 => {
                let location = text(header::LOCATION).map(String::from);
                let location =
                    location.ok_or_else(|| Failure::new(Kind::Lasting, "it redirects to nowhere"))?;
                return Ok(Reply::Elsewhere(location));
            }
            // What we have is no part of what it has.
            206 | 416 if from > 0 => return self.get_once(url, 0),
            404 | 410 => {
                return Err(Failure::new(Kind::NotFound, format!("it is not there ({})", status.as_u16())));
            }
            401 | 403 | 407 => {
                return Err(Failure::new(Kind::Lasting, format!("access is denied ({})", status.as_u16())));
            }
            code => {
                let kind = if code == 429 || code >= 500 { Kind::Passing } else { Kind::Lasting };
                return Err(Failure::new(kind, format!("the mirror answers with status {code}")));
            }
        };
        // The limit of what is read is the caller's, who knows what there must be.
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Reply::Answer(Answer::new(Box::new(reader), from, length, self.patience)))
    }

    fn get_file(&self, path: &str, from: u64) -> Result<Answer, Failure> {
        let open = || -> io::Result<Answer> {
            let mut file = File::open(Path::new(path))?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "it is no file"));
            }
            let from = from.min(metadata.len());
            file.seek(SeekFrom::Start(from))?;
            let length = Some(metadata.len() - from);
            Ok(Answer::new(Box::new(file), from, length, self.patience))
        };
        open().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(Kind::NotFound, "it is not there"),
            _ => Failure::new(Kind::Lasting, reason(&error)),
        })
    }

    fn agent(&self, url: &str) -> Result<&Agent, Failure> {
        let (agent, secure) = match url.split_once("://") {
            Some(("http", _)) => (&self.plain, false),
            Some(("https", _)) => (&self.secure, true),
            _ => return Err(Failure::new(Kind::Lasting, "only `http:`, `https:` and `file:` are known")),
        };
        agent.get_or_init(|| self.make_agent(secure)).as_ref().map_err(Failure::clone)
    }

    fn make_agent(&self, secure: bool) -> Result<Agent, Failure> {
        let proxy = self.proxy.as_deref().map(ureq::Proxy::new).transpose();
        let proxy = proxy.map_err(|_| Failure::new(Kind::Lasting, "the proxy's URL cannot be read"))?;
        let roots = if secure { host_roots() } else { None };
        let tls = TlsConfig::builder().root_certs(roots.unwrap_or(RootCerts::WebPki)).build();
        let config = |proxy| self.config(proxy, tls.clone());
        let connector = ForwardProxy::new(config(None))
            .chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(RustlsConnector::default());
        Ok(Agent::with_parts(config(proxy), connector, DefaultResolver::default()))
    }

    fn config(&self, proxy: Option<ureq::Proxy>, tls: TlsConfig) -> Config {
        Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .proxy(proxy)
            // Followed here: what comes over TLS stays there.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("imgbuild/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(self.patience.connect))
            .timeout_connect(Some(self.patience.connect))
            .timeout_send_request(Some(self.patience.silence))
            .timeout_recv_response(Some(self.patience.silence))
            .timeout_per_read(Some(self.patience.silence))
            .timeout_per_write(Some(self.patience.silence))
            .max_idle_connections(16)
            .max_idle_connections_per_host(16)
            .build()
    }
}

enum Reply {
    Answer(Answer),
    Elsewhere(String),
}

/// `url` without the name and password that it may hold, for messages.
pub fn shown(url: &str) -> String {
    let printable = crate::wording::printable(url);
    match printable.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => printable,
    }
}

/// `base` and a path below it, as a URL.
pub fn join(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.starts_with("file://") {
        return format!("{base}/{path}");
    }
    let mut url = format!("{base}/");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~+:@!$&'()*,;=".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

/// Where a redirection leads.
fn follow(url: &str, location: &str) -> Result<String, Failure> {
    let lasting = |reason: &str| Failure::new(Kind::Lasting, reason);
    let (scheme, rest) = url.split_once("://").ok_or_else(|| lasting("its URL has no scheme"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let next = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.contains("://") {
        location.to_string()
    } else {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let uri: Uri = next.parse().map_err(|_| lasting("it redirects to what is no URL"))?;
    match (scheme, uri.scheme_str()) {
        (_, Some("https")) | ("http", Some("http")) => Ok(next),
        ("https", Some("http")) => Err(lasting("it redirects from `https:` to `http:`")),
        _ => Err(lasting("it redirects to what is neither `http:` nor `https:`")),
    }
}

/// The first byte of `bytes 100-199/200`.
fn range_start(text: &str) -> Option<u64> {
    text.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The certificates that this host trusts, if it says so in one of the usual places.
fn host_roots() -> Option<RootCerts> {
    const PLACES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let pem = PLACES.iter().find_map(|path| std::fs::read(path).ok())?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem).filter_map(certificate).collect();
    (!certificates.is_empty()).then(|| RootCerts::new_with_certs(&certificates))
}

fn told(error: ureq::Error, proxied: bool) -> Failure {
    use ureq::Error::{BadUri, ConnectionFailed, HostNotFound, Http, InvalidProxyUrl, Io, Timeout, Tls};
    let host = if proxied { "the host, or the proxy," } else { "the host" };
    match error {
        Timeout(_) => Failure::new(Kind::Passing, "there is no answer"),
        HostNotFound => Failure::new(Kind::Passing, format!("{host} is not known")),
        ConnectionFailed => Failure::new(Kind::Passing, "there is no connection"),
        BadUri(_) | Http(_) => Failure::new(Kind::Lasting, "it is no URL"),
        InvalidProxyUrl => Failure::new(Kind::Lasting, "the proxy's URL cannot be read"),
        Tls(reason) => Failure::new(Kind::Lasting, reason),
        ureq::Error::Rustls(error) => Failure::new(Kind::Lasting, format!("TLS: {error}")),
        Io(error) => Failure::new(Kind::Passing, told_io(&error)),
        other => Failure::new(Kind::Passing, crate::wording::printable(&other.to_string())),
    }
}

fn told_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "it went silent".into(),
        io::ErrorKind::UnexpectedEof => "the connection broke".into(),
        _ if error.get_ref().is_some_and(|inner| inner.to_string().starts_with("timeout")) => {
            "it went silent".into()
        }
        _ => crate::wording::printable(&reason(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_tell_no_password() {
        assert_eq!(shown("http://me:secret@a.example:80/debian/x@y"), "http://a.example:80/debian/x@y");
        assert_eq!(shown("http://a.example"), "http://a.example");
        assert_eq!(shown("file:///srv/a@b"), "file:///srv/a@b");
    }

    #[test]
    fn redirections_are_followed_but_not_out_of_tls() {
        let from = "https://a.example/debian/dists/x";
        assert_eq!(follow(from, "/y").unwrap(), "https://a.example/y");
        assert_eq!(follow(from, "y").unwrap(), "https://a.example/debian/dists/y");
        assert_eq!(follow(from, "//b.example/y").unwrap(), "https://b.example/y");
        assert_eq!(follow("http://a.example/x", "https://b.example/y").unwrap(), "https://b.example/y");
        for bad in ["http://a.example/x", "file:///etc/passwd", "ftp://a.example/x", "https://"] {
            assert_eq!(follow(from, bad).unwrap_err().kind, Kind::Lasting, "{bad}");
        }
        assert!(follow(from, "http://a.example/x").unwrap_err().reason.contains("from `https:` to `http:`"));
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(
            join("http://a/debian/", "pool/g++_1%3a2~b ü.deb"),
            "http://a/debian/pool/g++_1%253a2~b%20%C3%BC.deb"
        );
        assert_eq!(join("file:///srv/x y", "pool/a b"), "file:///srv/x y/pool/a b");
    }

    #[test]
    fn files_are_read_from_where_one_left_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "0123456789").unwrap();
        let client = Client::new(None, Patience::default());
        let mut answer = client.get(&format!("file://{}", path.display()), 4).unwrap();
        let mut buffer = [0; 20];
        assert_eq!((answer.from, answer.length), (4, Some(6)));
        assert_eq!(answer.read(&mut buffer).unwrap(), 6);
        assert_eq!(&buffer[..6], b"456789");
        let missing = client.get(&format!("file://{}/b", folder.path().display()), 0);
        assert_eq!(missing.err().map(|failure| failure.kind), Some(Kind::NotFound));
        assert_eq!(client.get("ftp://a/b", 0).err().map(|failure| failure.kind), Some(Kind::Lasting));
    }
}
