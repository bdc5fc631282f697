//! Plain HTTP through a proxy: the request names the whole URL (RFC 9112, section 3.2.2), which is what caches of
//! packages such as apt-cacher-ng understand; they refuse to be tunnelled through.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Connects to the proxy where the URL is one of `http:` and there is a proxy.
pub struct ForwardProxy {
    /// As the agent's, without the proxy.
    direct: Config,
}

impl ForwardProxy {
    /// `direct` is the configuration with which the proxy itself is reached.
    pub fn new(direct: Config) -> ForwardProxy {
        ForwardProxy { direct }
    }
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ForwardProxy")
    }
}

impl Connector<()> for ForwardProxy {
    type Out = Forwarded;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Forwarded>, Error> {
        let Some(proxy) = details.config.proxy().filter(|_| !details.needs_tls()) else { return Ok(None) };
        let Some(authority) = details.uri.authority() else { return Ok(None) };
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs: details.resolver.resolve(proxy.uri(), &self.direct, details.timeout)?,
            config: &self.direct,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let inner = (details.run_connector)(&to_proxy)?;
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let access = proxy.username().map(|name| {
            let both = format!("{name}:{}", proxy.password().unwrap_or_default());
            format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(both))
        });
        Ok(Some(Forwarded { inner, site: format!("http://{host}"), access: access.unwrap_or_default() }))
    }
}

/// A connection to the proxy, for the requests to one site.
#[derive(Debug)]
pub struct Forwarded {
    inner: Box<dyn Transport>,
    site: String,
    access: String,
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output().get(..amount).unwrap_or_default();
        let Some(request) = output.strip_prefix(b"GET /") else {
            return self.inner.transmit_output(amount, timeout);
        };
        let line_end = request.windows(2).position(|two| two == b"\r\n").map_or(request.len(), |at| at + 2);
        let (line, headers) = request.split_at(line_end);
        let parts = [b"GET ", self.site.as_bytes(), b"/", line, self.access.as_bytes(), headers];
        let request = parts.concat();
        let mut rest = request.as_slice();
        while !rest.is_empty() {
            let buffer = self.inner.buffers().output();
            let (now, later) = rest.split_at(rest.len().min(buffer.len()));
            if now.is_empty() {
                return Err(Error::ConnectionFailed);
            }
            buffer[..now.len()].copy_from_slice(now);
            self.inner.transmit_output(now.len(), timeout)?;
            rest = later;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}
