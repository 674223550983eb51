//! One request over TLS, by a client that believes one authority: what a kubelet or Kubernetes' API server does.

use std::path::Path;

use cutline_tls::{ClientSpec, ClientTls, Pem, explain};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Sends `method path` with `body`, where there is one, to `port` of this machine, believing `ca`: the status and the JSON, null
/// where there is none.
///
/// # Errors
/// Why there is no connection.
///
/// # Panics
/// When what comes is no HTTP.
pub async fn ask(
    ca: &Path,
    port: u16,
    request: &str,
    body: Option<&Value>,
) -> Result<(u16, Value), String> {
    let spec = ClientSpec {
        roots: Some(Pem::file(ca)),
        ..ClientSpec::default()
    };
    let tls = ClientTls::load(spec).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let name = ServerName::try_from("127.0.0.1").expect("it is an address");
    let connected = TlsConnector::from(tls.config()).connect(name, stream).await;
    let mut stream =
        connected.map_err(|error| explain(&error).unwrap_or_else(|| error.to_string()))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let text = format!(
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let wrong = |error: std::io::Error| error.to_string();
    stream.write_all(text.as_bytes()).await.map_err(wrong)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(wrong)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.expect("HTTP has a status");
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}
