//! Files that are replaced are used for the next connections, and what cannot be used is not.

use std::{
    fs,
    time::{Duration, Instant},
};

use cutline_tls::{ClientCertificates, ClientTls, LOOK_PERIOD, ServerSpec, ServerTls};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;

use crate::{
    authority::{Authority, Signed, paths_in},
    handshake::{client, connect},
};

const SEEN_TIMEOUT: Duration = Duration::from_secs(20);

fn der(signed: &Signed) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()
}

#[test]
fn a_replaced_certificate_is_shown_and_half_a_replacement_is_not() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new("ours");
    let (first, second) = (authority.sign("admin.local"), authority.sign("admin.local"));
    first.write_to(directory.path());
    let spec = ServerSpec {
        identity: paths_in(directory.path()),
        clients: ClientCertificates::NotAsked,
    };
    let server = ServerTls::load(spec).unwrap();
    let tls = ClientTls::load(client(&authority)).unwrap();
    let shown = || connect(&tls, &server, "admin.local").unwrap().0;
    assert_eq!(shown(), der(&first));

    // The certificate alone does not fit the key, and a file that is gone cannot be read.
    fs::write(directory.path().join("tls.crt"), &second.certificate).unwrap();
    std::thread::sleep(LOOK_PERIOD);
    assert_eq!(shown(), der(&first));
    fs::remove_file(directory.path().join("tls.key")).unwrap();
    std::thread::sleep(LOOK_PERIOD);
    assert_eq!(shown(), der(&first));

    fs::write(directory.path().join("tls.key"), &second.key).unwrap();
    let deadline = Instant::now() + SEEN_TIMEOUT;
    while shown() != der(&second) {
        assert!(
            Instant::now() < deadline,
            "the new certificate is not shown"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
