//! What is wrong with files is said with the file's name.

use cutline_tls::{
    ClientCertificates, ClientSpec, ClientTls, IdentitySpec, Pem, ServerSpec, ServerTls, TlsError,
};

use crate::authority::Authority;

fn serving(certificate: &str, key: &str) -> TlsError {
    let identity = IdentitySpec {
        certificate: Pem::text("tls.crt", certificate),
        key: Pem::text("tls.key", key),
    };
    let clients = ClientCertificates::NotAsked;
    ServerTls::load(ServerSpec { identity, clients }).unwrap_err()
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let spec = ClientSpec {
        roots: Some(Pem::file("/nowhere/ca.crt")),
        ..ClientSpec::default()
    };
    let said = ClientTls::load(spec).unwrap_err().to_string();
    assert!(
        said.starts_with("CL0400 /nowhere/ca.crt cannot be read"),
        "{said}"
    );
}

#[test]
fn what_is_missing_or_damaged_in_a_file_is_said() {
    let good = Authority::new("ours").sign("admin.local");
    let certificate = || "tls.crt".to_owned();
    let key = || "tls.key".to_owned();
    assert_eq!(
        serving("no pem", &good.key),
        TlsError::NoCertificate { pem: certificate() }
    );
    assert_eq!(
        serving(&good.key, &good.key),
        TlsError::NoCertificate { pem: certificate() }
    );
    assert_eq!(
        serving(&good.certificate, &good.certificate),
        TlsError::NoKey { pem: key() }
    );
    let cut = &good.certificate[..good.certificate.len() / 2];
    assert!(matches!(serving(cut, &good.key), TlsError::NotPem { .. }));
    let damaged = good.certificate.replacen("MII", "M!I", 1);
    assert!(matches!(
        serving(&damaged, &good.key),
        TlsError::NotPem { .. }
    ));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        serving(nonsense, &good.key),
        TlsError::Unusable { .. }
    ));
    let encrypted = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(
        serving(&good.certificate, &encrypted),
        TlsError::EncryptedKey { pem: key() }
    );
}

#[test]
fn a_key_of_another_certificate_is_told_at_once() {
    let authority = Authority::new("ours");
    let (one, other) = (authority.sign("a"), authority.sign("b"));
    let said = serving(&one.certificate, &other.key).to_string();
    assert!(
        said.contains("tls.key does not belong to the certificate in tls.crt"),
        "{said}"
    );
}

#[test]
fn a_certificate_that_is_over_is_told_with_its_end() {
    let over = Authority::new("ours").sign_until("admin.local", 2001);
    let said = serving(&over.certificate, &over.key).to_string();
    assert!(
        said.contains("tls.crt expired at 2001-01-01T00:00:00Z"),
        "{said}"
    );

    let good = Authority::new("ours").sign_until("admin.local", 3001);
    let clients = ClientCertificates::NotAsked;
    let tls = ServerTls::load(ServerSpec {
        identity: good.identity(),
        clients,
    })
    .unwrap();
    let end = tls.expires().unwrap().to_string();
    assert_eq!(end, "3001-01-01T00:00:00Z");
}

#[test]
fn nothing_of_a_key_is_in_an_error_or_in_what_debugging_prints() {
    let good = Authority::new("ours").sign("admin.local");
    let secret = good.key.lines().nth(1).unwrap();
    let damaged = good.key.replacen("-----END", "----END", 1);
    let error = serving(&good.certificate, &damaged);
    let identity = good.identity();
    for printed in [format!("{error:?} {error}"), format!("{identity:?}")] {
        assert!(
            !printed.contains(secret) && !printed.contains("BEGIN PRIVATE"),
            "{printed}"
        );
    }
}
