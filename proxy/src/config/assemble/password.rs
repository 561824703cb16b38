//! Passwords: in the configuration itself, in a variable of the environment, in a file, or, for those that applications
//! log in with, as the hash that a server stores.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Table;
use crate::config::problem::Fault;
use crate::config::scalar::{Hash, Scalar};
use crate::config::{Password, Secret};

/// Nobody has a password this long; reading a device or a log by mistake ends here.
const LARGEST: u64 = 4096;

/// The ways to give a password that Tandem itself must know.
const CLEAR: &[&str] = &["password", "password_env", "password_file"];
/// The same, for one that it only has to check.
const ANY: &[&str] = &["password", "password_hash", "password_env", "password_file"];

impl Table<'_> {
    /// A password that is used.
    pub(super) fn secret(&mut self) -> Secret {
        self.only_one_of(CLEAR);
        self.clear().unwrap_or_else(|| Secret::new(""))
    }

    /// A password that clients prove.
    pub(super) fn password(&mut self) -> Password {
        self.only_one_of(ANY);
        if self.has("password_hash") {
            return match self.get::<Hash>("password_hash") {
                Some(hash) => hash.0,
                // Complained about; what stands in for it opens nothing.
                None => Password::Native([0; 20]),
            };
        }
        Password::Clear(self.clear().unwrap_or_else(|| Secret::new("")))
    }

    /// Two of them may say different things, and which one counts would be a guess.
    fn only_one_of(&mut self, keys: &[&'static str]) {
        let given: Vec<&str> = keys.iter().copied().filter(|key| self.has(key)).collect();
        if let [first, second, ..] = given[..] {
            let fault = Fault::Contradiction(format!("is given beside {first}; keep one of them"));
            self.complain(second, fault);
        }
    }

    fn clear(&mut self) -> Option<Secret> {
        if self.has("password_env") {
            let name = self.get::<String>("password_env")?;
            return self.checked("password_env", variable(self.environment, &name));
        }
        if self.has("password_file") {
            let path = self.get::<PathBuf>("password_file")?;
            return self.checked("password_file", content(&path));
        }
        Some(Secret::new(self.required("password", "\"…\"", String::new())))
    }

    fn checked(&mut self, key: &'static str, found: Result<String, Fault>) -> Option<Secret> {
        let checked = found.and_then(|text| match String::from_text(&text) {
            Ok(text) if text.is_empty() => {
                let advice = "holds nothing; put the password there, or give another place";
                Err(Fault::Invalid(advice.to_owned()))
            }
            Ok(text) => Ok(text),
            Err(_) => Err(Fault::Invalid(
                "holds a zero byte, which no password can have".to_owned(),
            )),
        });
        match checked {
            Ok(text) => Some(Secret::new(text)),
            Err(fault) => {
                self.complain(key, fault);
                None
            }
        }
    }
}

/// The value of a variable. The name may be a password that somebody put in the wrong place, so a name that is none is
/// not repeated.
fn variable(environment: &[(OsString, OsString)], name: &str) -> Result<String, Fault> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
        let advice =
            "must be the name of an environment variable, such as \"APP_PASSWORD\", not the password itself";
        return Err(Fault::Invalid(advice.to_owned()));
    }
    if name.starts_with("TANDEM_") {
        let advice =
            "must name a variable that does not begin with TANDEM_: those are keys of the configuration";
        return Err(Fault::Invalid(advice.to_owned()));
    }
    let found = environment.iter().find(|(known, _)| known == name);
    let Some((_, value)) = found else {
        return Err(Fault::Invalid(
            "names a variable that is not set; check its name, and that the service that starts Tandem passes it on"
                .to_owned(),
        ));
    };
    let text = value.to_str().map(str::to_owned);
    text.ok_or_else(|| Fault::Invalid("names a variable whose value is not UTF-8".to_owned()))
}

/// A file's text, without the newline at its end that editors and `echo` put there.
fn content(path: &Path) -> Result<String, Fault> {
    let unreadable = |error: std::io::Error| Fault::Unreadable(error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Fault::Unreadable("it is not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    let mut limited = file.take(LARGEST + 1);
    limited.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Fault::Unreadable(format!("it is longer than {LARGEST} bytes")));
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| Fault::Unreadable("it is not UTF-8".to_owned()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
