//! What this side can tell: whether the address leads to an admin API, and to one that takes the token, in this version.
//!
//! The address is looked at step by step, with a socket of its own: a name, a connection, an answer. Where one step fails the
//! next ones cannot be judged.

use std::{io, net::SocketAddr, time::Duration};

use cutline_client::{AdminError, Finding, Verdict};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
};

use crate::session::Session;

const NAME: &str = "connection.name";
const ADDRESS: &str = "connection.address";
const ANSWER: &str = "connection.answer";
const CLOCK: &str = "connection.clock";
const TOKEN: &str = "connection.token";
const VERSION: &str = "connection.version";
/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// What an answer to a small question may have.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Times are shown to the second, and retention is told by them.
const CLOCK_APART_SECONDS_MAX: i64 = 30;
/// The first byte of an alert: what a server that speaks TLS says to one who does not.
const TLS_ALERT: u8 = 0x15;

fn finding(
    id: &str,
    subject: &str,
    verdict: Verdict,
    what: impl Into<String>,
    cure: Option<&str>,
) -> Finding {
    Finding {
        id: id.to_owned(),
        subject: subject.to_owned(),
        verdict,
        what: what.into(),
        cure: cure.map(str::to_owned),
    }
}

/// Looks, and tells whether an admin API was reached that may be asked more.
pub async fn look(session: &Session) -> (Vec<Finding>, bool) {
    let mut found = Vec::new();
    let address = session.client.address();
    let is_plain = address.starts_with("http://");
    let Some((host, port)) = host_and_port(address) else {
        found.push(finding(
            NAME,
            address,
            Verdict::Fail,
            "it names no host",
            Some("give --admin http://HOST:PORT"),
        ));
        return (found, false);
    };
    let addresses = match resolved(&host, port).await {
        Ok(addresses) => addresses,
        Err(error) => {
            found.push(judge_name(&host, &error));
            return (found, false);
        }
    };
    found.push(finding(
        NAME,
        &host,
        Verdict::Ok,
        "its name leads to an address",
        None,
    ));
    let stream = match connected(&addresses).await {
        Ok(stream) => stream,
        Err(error) => {
            found.push(judge_connection(address, &error));
            return (found, false);
        }
    };
    found.push(finding(
        ADDRESS,
        address,
        Verdict::Ok,
        "takes connections",
        None,
    ));
    if is_plain {
        let answer = answer(stream, &host).await;
        let judged = judge_answer(address, &answer);
        let answered = judged.verdict == Verdict::Ok;
        found.push(judged);
        if !answered {
            return (found, false);
        }
        found.extend(judge_clock(address, &answer, Timestamp::now()));
    }
    let token = judge_token(
        session
            .client
            .whoami()
            .await
            .map(|view| (view.name, view.role)),
    );
    let taken = token.verdict != Verdict::Fail;
    found.push(token);
    (found, taken)
}

/// `http://host:port/…` in parts.
fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (scheme, rest) = address.split_once("://")?;
    let authority = rest.split('/').next()?;
    let authority = authority.rsplit('@').next()?;
    let default = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address are inside brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

async fn resolved(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let looking = tokio::time::timeout(STEP_TIMEOUT, lookup_host((host, port)));
    let found: Vec<SocketAddr> = looking.await.map_err(|_| timed_out())??.collect();
    if found.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(found)
}

async fn connected(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let connecting = tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect(addresses));
    connecting.await.map_err(|_| timed_out())?
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// The first bytes that come back when asked how it is.
async fn answer(mut stream: TcpStream, host: &str) -> io::Result<Vec<u8>> {
    let asked = async {
        let question =
            format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut answer = Vec::new();
        stream
            .take(ANSWER_BYTES_MAX as u64)
            .read_to_end(&mut answer)
            .await?;
        Ok(answer)
    };
    let answered = tokio::time::timeout(STEP_TIMEOUT, asked).await;
    answered.map_err(|_| timed_out())?
}

fn judge_name(host: &str, error: &io::Error) -> Finding {
    finding(
        NAME,
        host,
        Verdict::Fail,
        format!("no address is known by this name: {error}"),
        Some(
            "correct --admin (CUTLINE_ADMIN, or the context in use), or the name service of this machine; in Kubernetes use kubectl port-forward from outside",
        ),
    )
}

fn judge_connection(address: &str, error: &io::Error) -> Finding {
    let (what, cure) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (
            "the connection is refused: nobody listens there".to_owned(),
            "start cutline-admin there, or correct the port in --admin (CUTLINE_ADMIN, or the context in use); one that runs says where in its log: \"listening\"",
        ),
        io::ErrorKind::TimedOut => (
            "nothing comes back".to_owned(),
            "see the host, firewalls and network policies on the way (the chart lets in pods labelled cutline.dev/client=true); or the address is wrong",
        ),
        _ => (
            error.to_string(),
            "see the network of this machine, and --admin",
        ),
    };
    finding(ADDRESS, address, Verdict::Fail, what, Some(cure))
}

fn judge_answer(address: &str, answer: &io::Result<Vec<u8>>) -> Finding {
    let wrong = |what: String, cure| finding(ANSWER, address, Verdict::Fail, what, Some(cure));
    let bytes = match answer {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            return wrong(
                "it takes connections and does not answer".to_owned(),
                "the admin API hangs, or something else listens there: see its log and its machine; restart it",
            );
        }
        Err(error) => {
            return wrong(
                format!("the connection broke: {error}"),
                "something that is no admin API listens there: correct the port in --admin",
            );
        }
    };
    if bytes.first() == Some(&TLS_ALERT) {
        return wrong(
            "it speaks TLS, and was addressed without".to_owned(),
            "give its address as https:// where this version takes that, or the address of its listener without TLS",
        );
    }
    let text = String::from_utf8_lossy(bytes);
    if text.starts_with("HTTP/") && text.contains("\"status\":\"alive\"") {
        return finding(ANSWER, address, Verdict::Ok, "an admin API answers", None);
    }
    if text.starts_with("HTTP/") {
        let status = text.lines().next().unwrap_or_default().to_owned();
        return wrong(
            format!("a web server that is no admin API answers: {status}"),
            "correct --admin: it is where cutline-admin listens, or a proxy that leads there with no path changed",
        );
    }
    wrong(
        "what answers there does not speak HTTP".to_owned(),
        "correct the port in --admin: Kafka's and a sidecar's are others",
    )
}

/// Nothing when the answer tells no time.
fn judge_clock(address: &str, answer: &io::Result<Vec<u8>>, now: Timestamp) -> Option<Finding> {
    let text = String::from_utf8_lossy(answer.as_ref().ok()?).into_owned();
    let line = text
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("date:"))?;
    let told = line.split_once(':')?.1.trim();
    let theirs = DateTimeParser::new().parse_timestamp(told).ok()?;
    let apart = now.as_second() - theirs.as_second();
    if apart.abs() <= CLOCK_APART_SECONDS_MAX {
        return Some(finding(CLOCK, address, Verdict::Ok, "clocks agree", None));
    }
    let way = if apart > 0 { "behind" } else { "ahead of" };
    Some(finding(
        CLOCK,
        address,
        Verdict::Warn,
        format!("its clock is {} s {way} this machine's", apart.abs()),
        Some("run NTP on both: ages, schedules and what may be deleted go by the clock"),
    ))
}

fn judge_token(answer: Result<(String, Option<String>), AdminError>) -> Finding {
    let fail = |what: String, cure: &str| finding(TOKEN, "", Verdict::Fail, what, Some(cure));
    let error = match answer {
        Ok((name, Some(role))) => {
            return finding(
                TOKEN,
                &name,
                Verdict::Ok,
                format!("taken, with role {role}"),
                None,
            );
        }
        Ok((_, None)) => {
            return finding(
                TOKEN,
                "anyone",
                Verdict::Warn,
                "the admin API asks for no token: whoever reaches it may do everything",
                Some(
                    "give it a list with --tokens (docs/operations.md, \"Who may do what\"); on a machine of one's own that is fine as it is",
                ),
            );
        }
        Err(error) => error,
    };
    match error.status() {
        Some(401) => fail(
            error.to_string(),
            "show a token that is in the admin API's list: --token-file PATH, CUTLINE_TOKEN_FILE or the context's token-file; a new one is made by `cutline token new`",
        ),
        Some(403) => fail(
            error.to_string(),
            "this token is a sidecar's: people need one of role viewer, operator or admin, made by `cutline token new --role viewer`",
        ),
        Some(404) => finding(
            TOKEN,
            "",
            Verdict::Warn,
            "the admin API does not know this question: it is older than this command",
            Some(
                "upgrade the admin API, then the sidecars; or use the command line of its version",
            ),
        ),
        _ => fail(
            error.to_string(),
            "see what is said of the connection above",
        ),
    }
}

/// The admin API did not tell what it finds.
pub fn not_told(error: &AdminError) -> Finding {
    if error.status() == Some(404) {
        return finding(
            VERSION,
            "",
            Verdict::Fail,
            "the admin API cannot look around itself: it is older than this command",
            Some("upgrade the admin API, or use the doctor of its version"),
        );
    }
    let cure = "see the admin API's log";
    finding(ANSWER, "", Verdict::Fail, error.to_string(), Some(cure))
}

/// Whether the admin API's version is this one's.
pub fn judge_version(theirs: &str) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    if theirs == ours {
        return finding(
            VERSION,
            theirs,
            Verdict::Ok,
            "the admin API has this version",
            None,
        );
    }
    finding(
        VERSION,
        theirs,
        Verdict::Warn,
        format!("the admin API is version {theirs}, this command {ours}"),
        Some("use both in the same version"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let parts = |address| host_and_port(address).unwrap();
        assert_eq!(parts("http://h:7070"), ("h".to_owned(), 7070));
        assert_eq!(parts("http://h/x"), ("h".to_owned(), 80));
        assert_eq!(parts("https://h"), ("h".to_owned(), 443));
        assert_eq!(parts("http://[::1]:7070"), ("::1".to_owned(), 7070));
        assert_eq!(parts("http://[::1]"), ("::1".to_owned(), 80));
    }

    #[test]
    fn what_answers_is_told_by_its_first_bytes() {
        let cure = |bytes: &[u8]| {
            let judged = judge_answer("http://h:1", &Ok(bytes.to_vec()));
            judged.cure.unwrap_or_default()
        };
        assert!(cure(&[0x15, 3, 1]).contains("https://"));
        assert!(cure(b"").contains("Kafka"));
        assert!(cure(b"HTTP/1.1 404 Not Found\r\n").contains("cutline-admin"));
        assert_eq!(cure(b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"alive\"}"), "");
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_the_date_of_the_answer() {
        let now: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        let verdict = |date: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\ndate: {date}\r\n\r\n");
            judge_clock("a", &Ok(answer.into_bytes()), now).map(|found| found.verdict)
        };
        assert_eq!(verdict("Wed, 04 Mar 2026 05:06:00 GMT"), Some(Verdict::Ok));
        assert_eq!(
            verdict("Wed, 04 Mar 2026 06:06:00 GMT"),
            Some(Verdict::Warn)
        );
        assert_eq!(verdict("soon"), None);
    }
}
