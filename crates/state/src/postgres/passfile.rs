//! A password from where libpq has it: `PGPASSWORD`, or a line of `PGPASSFILE`, by default `~/.pgpass`.

use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf};

/// Whom a password is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The password the environment has, read anew each time, since passwords change.
pub(super) fn find(wanted: Wanted<'_>) -> Option<String> {
    if let Ok(password) = env::var("PGPASSWORD") {
        return Some(password);
    }
    let path = match env::var_os("PGPASSFILE") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME")?).join(".pgpass"),
    };
    let open_to_others = fs::metadata(&path).ok()?.permissions().mode() & 0o077 != 0;
    if open_to_others {
        tracing::warn!(path = %path.display(), "password file not used: others may read it; chmod 0600");
        return None;
    }
    fs::read_to_string(&path)
        .ok()?
        .lines()
        .find_map(|line| password_in(line, wanted))
}

fn password_in(line: &str, wanted: Wanted<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let fields = fields(line);
    let [host, port, database, user, password] = &fields[..] else {
        return None;
    };
    let port_text = wanted.port.to_string();
    // A socket's directory is written as localhost there.
    let named = if wanted.host.starts_with('/') {
        "localhost"
    } else {
        wanted.host
    };
    let fits = |field: &String, value: &str| field == "*" || field == value;
    let all = (fits(host, wanted.host) || fits(host, named))
        && fits(port, &port_text)
        && fits(database, wanted.database)
        && fits(user, wanted.user);
    all.then(|| password.clone())
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let last = fields.len() - 1;
        match letter {
            '\\' => fields[last].extend(letters.next()),
            // The password is the rest of the line but for its escapes.
            ':' if fields.len() < 5 => fields.push(String::new()),
            _ => fields[last].push(letter),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_by_all_of_its_fields() {
        let wanted = Wanted {
            host: "db",
            port: 5432,
            database: "bank",
            user: "me",
        };
        for (line, password) in [
            ("db:5432:bank:me:secret", Some("secret")),
            ("*:*:*:*:a\\:b\\\\c", Some("a:b\\c")),
            ("db:5433:bank:me:secret", None),
            ("# db:5432:bank:me:secret", None),
            ("db:5432:bank:me", None),
        ] {
            assert_eq!(password_in(line, wanted).as_deref(), password, "{line}");
        }
    }
}
