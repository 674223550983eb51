//! Who lets whom in.

use std::{error::Error as StdError, io, sync::Arc};

use cutline_tls::{
    ClientCertificates, ClientSpec, ClientTls, ServerCheck, ServerSpec, ServerTls, explain,
};
use rustls::{
    ClientConnection, ServerConnection,
    pki_types::{CertificateDer, ServerName},
};

use crate::authority::{Authority, Signed};

/// Rounds of messages that a handshake may take.
const ROUNDS_MAX: usize = 10;

pub fn server(signed: &Signed, clients: ClientCertificates) -> ServerTls {
    let identity = signed.identity();
    ServerTls::load(ServerSpec { identity, clients }).unwrap()
}

pub fn client(authority: &Authority) -> ClientSpec {
    ClientSpec {
        roots: Some(authority.pem()),
        ..ClientSpec::default()
    }
}

/// Connects to `name`; the server's certificate and the client's, or what the client and the server say is wrong.
pub fn connect(
    client: &ClientTls,
    server: &ServerTls,
    name: &'static str,
) -> Result<(Certificate, Option<Certificate>), (String, String)> {
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(client.config(), name).unwrap();
    let mut server = ServerConnection::new(server.config()).unwrap();
    let mut wrong = (String::new(), String::new());
    for _ in 0..ROUNDS_MAX {
        // What is wrong is told to the other side too: bytes go on when one side gave up.
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        if let Err(error) = take(&bytes, |read| server.read_tls(read)).and_then(|()| {
            server
                .process_new_packets()
                .map(|_| ())
                .map_err(io::Error::other)
        }) {
            wrong.1 = words(&error);
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        if let Err(error) = take(&bytes, |read| client.read_tls(read)).and_then(|()| {
            client
                .process_new_packets()
                .map(|_| ())
                .map_err(io::Error::other)
        }) {
            wrong.0 = words(&error);
        }
    }
    if wrong != Default::default() {
        return Err(wrong);
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let shown = server
        .peer_certificates()
        .map(|chain| chain[0].clone().into_owned());
    Ok((
        client.peer_certificates().unwrap()[0].clone().into_owned(),
        shown,
    ))
}

type Certificate = CertificateDer<'static>;

fn take(
    mut bytes: &[u8],
    mut read: impl FnMut(&mut dyn io::Read) -> io::Result<usize>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        read(&mut bytes)?;
    }
    Ok(())
}

fn words(error: &(dyn StdError + 'static)) -> String {
    explain(error).unwrap()
}

#[test]
fn a_server_signed_by_a_named_authority_is_believed_for_its_names_alone() {
    let authority = Authority::new("ours");
    let server = server(&authority.sign("admin.local"), ClientCertificates::NotAsked);
    let tls = ClientTls::load(client(&authority)).unwrap();
    let (_, shown) = connect(&tls, &server, "admin.local").unwrap();
    assert_eq!(shown, None);

    let (said, _) = connect(&tls, &server, "other.local").unwrap_err();
    assert!(
        said.contains("admin.local") && said.contains("other.local"),
        "{said}"
    );

    let foreign = ClientTls::load(client(&Authority::new("another"))).unwrap();
    let (said, heard) = connect(&foreign, &server, "admin.local").unwrap_err();
    assert!(said.contains("signed by nobody who is believed"), "{said}");
    assert!(
        heard.contains("does not accept the certificate shown"),
        "{heard}"
    );
}

#[test]
fn names_are_not_checked_when_told_so_and_signatures_still_are() {
    let authority = Authority::new("ours");
    let server = server(&authority.sign("admin.local"), ClientCertificates::NotAsked);
    let mut spec = client(&authority);
    spec.check = ServerCheck::AnyName;
    connect(&ClientTls::load(spec).unwrap(), &server, "10.0.0.1").unwrap();

    let mut spec = client(&Authority::new("another"));
    spec.check = ServerCheck::AnyName;
    let tls = ClientTls::load(spec.clone()).unwrap();
    let (said, _) = connect(&tls, &server, "10.0.0.1").unwrap_err();
    assert!(said.contains("signed by nobody"), "{said}");

    spec.check = ServerCheck::Nothing;
    connect(&ClientTls::load(spec).unwrap(), &server, "10.0.0.1").unwrap();
}

#[test]
fn a_client_without_a_certificate_or_with_a_foreign_one_is_refused_and_both_sides_say_why() {
    let authority = Authority::new("ours");
    let required = ClientCertificates::Required(authority.pem());
    let server = server(&authority.sign("admin.local"), required);

    let mut spec = client(&authority);
    let without = ClientTls::load(spec.clone()).unwrap();
    let (said, heard) = connect(&without, &server, "admin.local").unwrap_err();
    assert!(
        said.contains("asks for a certificate, and none was shown"),
        "{said}"
    );
    assert!(heard.contains("showed no certificate"), "{heard}");

    spec.identity = Some(Authority::new("another").sign("someone").identity());
    let foreign = ClientTls::load(spec.clone()).unwrap();
    let (said, heard) = connect(&foreign, &server, "admin.local").unwrap_err();
    assert!(
        said.contains("does not accept the certificate shown"),
        "{said}"
    );
    assert!(
        heard.contains("signed by nobody who is believed"),
        "{heard}"
    );

    let ours = authority.sign("someone");
    spec.identity = Some(ours.identity());
    let tls = ClientTls::load(spec).unwrap();
    let (_, shown) = connect(&tls, &server, "admin.local").unwrap();
    assert!(shown.is_some());
}

#[test]
fn a_certificate_may_be_left_out_where_it_is_optional_and_a_foreign_one_is_refused_even_there() {
    let authority = Authority::new("ours");
    let optional = ClientCertificates::Optional(authority.pem());
    let server = server(&authority.sign("admin.local"), optional);
    let mut spec = client(&authority);
    let (_, shown) = connect(
        &ClientTls::load(spec.clone()).unwrap(),
        &server,
        "admin.local",
    )
    .unwrap();
    assert_eq!(shown, None);
    spec.identity = Some(Authority::new("another").sign("someone").identity());
    connect(&ClientTls::load(spec).unwrap(), &server, "admin.local").unwrap_err();
}

#[test]
fn what_is_no_tls_is_called_that() {
    let tls = ClientTls::load(client(&Authority::new("ours"))).unwrap();
    let name = ServerName::try_from("admin.local").unwrap();
    let mut client = ClientConnection::new(tls.config(), name).unwrap();
    let mut answer = &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..];
    client.read_tls(&mut answer).unwrap();
    let error = client.process_new_packets().unwrap_err();
    let wrapped = io::Error::new(io::ErrorKind::InvalidData, error);
    let said = words(&wrapped);
    assert!(said.contains("not TLS"), "{said}");
    assert_eq!(explain(&io::Error::other("nothing of the kind")), None);
}

#[test]
fn a_configuration_is_the_same_until_files_change() {
    let authority = Authority::new("ours");
    let tls = ClientTls::load(client(&authority)).unwrap();
    assert!(Arc::ptr_eq(&tls.config(), &tls.config()));
}
