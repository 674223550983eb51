//! SCRAM (RFC 5802, RFC 7677): both sides prove that they know the password, and neither sends it.
//!
//! Names and passwords are taken as they are, without SASLprep, as Kafka does.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    digest,
    hmac::{self, Key, Tag},
    pbkdf2,
    rand::{SecureRandom, SystemRandom},
};
use std::num::NonZeroU32;

use super::SaslError;

/// Fewer rounds would make guessing cheap for whoever listens: RFC 7677's and Kafka's own least number.
const ROUNDS_MIN: u32 = 4_096;
/// More rounds would keep us busy for seconds: Kafka itself allows 16,384.
const ROUNDS_MAX: u32 = 131_072;
const NONCE_BYTES: usize = 18;
/// No channel binding, base64 of `n,,`.
const NO_BINDING: &str = "biws";

#[derive(Clone, Copy)]
struct Hash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

/// One exchange.
pub(super) struct Scram {
    hash: Hash,
    password: Vec<u8>,
    nonce: String,
    bare: String,
    expected: Expected,
}

enum Expected {
    Challenge,
    Verdict { key: Key, message: String },
    Nothing,
}

impl Scram {
    pub(super) fn sha256(username: &str, password: &str) -> Self {
        let hash = Hash {
            digest: &digest::SHA256,
            hmac: hmac::HMAC_SHA256,
            pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
        };
        Self::new(hash, username, password, nonce())
    }

    pub(super) fn sha512(username: &str, password: &str) -> Self {
        let hash = Hash {
            digest: &digest::SHA512,
            hmac: hmac::HMAC_SHA512,
            pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
        };
        Self::new(hash, username, password, nonce())
    }

    fn new(hash: Hash, username: &str, password: &str, nonce: String) -> Self {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            password: password.as_bytes().to_vec(),
            bare: format!("n={name},r={nonce}"),
            nonce,
            expected: Expected::Challenge,
        }
    }

    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    pub(super) fn handle_answer(&mut self, answer: &[u8]) -> Result<Option<Vec<u8>>, SaslError> {
        let text = std::str::from_utf8(answer);
        let text = text.map_err(|_| SaslError::Unexpected("its answer is no text"))?;
        if let Some(reason) = field(text, 'e') {
            return Err(SaslError::Refused(reason.to_owned()));
        }
        match std::mem::replace(&mut self.expected, Expected::Nothing) {
            Expected::Challenge => self.prove(text).map(Some),
            Expected::Verdict { key, message } => {
                let signature = field(text, 'v').and_then(|value| STANDARD.decode(value).ok());
                let signature = signature.ok_or(SaslError::Unexpected("there is no signature"))?;
                hmac::verify(&key, message.as_bytes(), &signature)
                    .map_err(|_| SaslError::Impostor)?;
                Ok(None)
            }
            Expected::Nothing => Err(SaslError::Unexpected("it goes on after the end")),
        }
    }

    fn prove(&mut self, challenge: &str) -> Result<Vec<u8>, SaslError> {
        let nonce = field(challenge, 'r').ok_or(SaslError::Unexpected("there is no nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(SaslError::Unexpected("the nonce is not made of ours"));
        }
        let salt = field(challenge, 's').and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or(SaslError::Unexpected("there is no salt"))?;
        let rounds = field(challenge, 'i').and_then(|rounds| rounds.parse::<u32>().ok());
        let rounds = rounds.filter(|rounds| (ROUNDS_MIN..=ROUNDS_MAX).contains(rounds));
        let rounds = rounds.and_then(NonZeroU32::new);
        let rounds = rounds.ok_or(SaslError::Unexpected("too few or too many rounds"))?;

        let mut salted = vec![0; self.hash.digest.output_len()];
        pbkdf2::derive(self.hash.pbkdf2, rounds, &salt, &self.password, &mut salted);
        let sign = |key: &[u8], message: &str| -> Tag {
            hmac::sign(&Key::new(self.hash.hmac, key), message.as_bytes())
        };
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(self.hash.digest, client_key.as_ref());
        let last = format!("c={NO_BINDING},r={nonce}");
        let message = format!("{},{challenge},{last}", self.bare);
        let signature = sign(stored_key.as_ref(), &message);
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, signature)| key ^ signature).collect();
        let server_key = sign(&salted, "Server Key");
        self.expected = Expected::Verdict {
            key: Key::new(self.hash.hmac, server_key.as_ref()),
            message,
        };
        Ok(format!("{last},p={}", STANDARD.encode(proof)).into_bytes())
    }
}

fn nonce() -> String {
    let mut bytes = [0; NONCE_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system gives random bytes");
    STANDARD.encode(bytes)
}

/// The value of a field: `a=…`, separated by commas.
fn field(text: &str, name: char) -> Option<&str> {
    let mut fields = text.split(',');
    fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    // The example of RFC 7677.
    fn example() -> Scram {
        let mut scram = Scram::sha256("user", "pencil");
        scram.nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        scram.bare = format!("n=user,r={}", scram.nonce);
        scram
    }

    #[test]
    fn the_example_of_the_standard_comes_out() {
        let mut scram = example();
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = scram.handle_answer(CHALLENGE.as_bytes()).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let verdict = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(scram.handle_answer(verdict), Ok(None));
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_not_believed() {
        let mut scram = example();
        scram.handle_answer(CHALLENGE.as_bytes()).unwrap();
        let verdict = b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(scram.handle_answer(verdict), Err(SaslError::Impostor));
    }

    #[test]
    fn challenges_that_would_weaken_the_proof_are_refused() {
        for challenge in [
            CHALLENGE.replace("i=4096", "i=1"),
            CHALLENGE.replace("i=4096", "i=4000000000"),
            CHALLENGE.replace("r=rOpr", "r=xxxx"),
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_owned(),
            String::new(),
        ] {
            let answered = example().handle_answer(challenge.as_bytes());
            assert!(
                matches!(answered, Err(SaslError::Unexpected(_))),
                "{challenge}"
            );
        }
        let refused = example().handle_answer(b"e=other-error");
        assert_eq!(refused, Err(SaslError::Refused("other-error".to_owned())));
    }

    #[test]
    fn names_with_the_separators_are_escaped() {
        let scram = Scram::sha512("a=b,c", "x");
        assert!(scram.bare.starts_with("n=a=3Db=2Cc,r="), "{}", scram.bare);
    }
}
