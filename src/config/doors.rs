//! The admin doors that a file names, and nothing else of it: who asks the running program how it
//! is may have none of the secrets that the file takes from the environment, and the file may be
//! wrong.

use toml::de::{DeTable, DeValue};

use super::AdminAddr;

/// `bind_addr` of `[server.admin]` or `[client.admin]`, as far as it can be read without variables.
pub fn admin_doors(text: &str, role: &str) -> Vec<AdminAddr> {
    let (file, _) = DeTable::parse_recoverable(text.strip_prefix('\u{feff}').unwrap_or(text));
    let table = file.get_ref().get(role).and_then(|role| role.get_ref().get("admin"));
    let Some(value) = table.and_then(|admin| admin.get_ref().get("bind_addr")) else {
        return Vec::new();
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().filter_map(|one| door(one.get_ref())).collect(),
        one => door(one).into_iter().collect(),
    }
}

fn door(value: &DeValue<'_>) -> Option<AdminAddr> {
    let text = value.as_str()?;
    match text.strip_prefix("unix:") {
        Some(path) => path.starts_with('/').then(|| AdminAddr::Unix(path.into())),
        None => {
            let literal = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
            literal.as_deref().unwrap_or(text).parse().ok().map(AdminAddr::Tcp)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_found_in_files_that_do_not_load() {
        let tcp = |text: &str| AdminAddr::Tcp(text.parse().expect("an address"));
        let unix = || AdminAddr::Unix("/run/a.sock".into());
        for (text, doors) in [
            ("[server.admin]\nbind_addr = '127.0.0.1:9333'", vec![tcp("127.0.0.1:9333")]),
            (
                "[server]\nnonsense = 7\ntoken = '${UNSET}'\n[server.admin]\nusers = 5\n\
                 bind_addr = ['unix:/run/a.sock', 'localhost:1', '[::1]:2', '${X}', 3]",
                vec![unix(), tcp("127.0.0.1:1"), tcp("[::1]:2")],
            ),
            (
                "server.admin = { bind_addr = 'unix:/run/a.sock' }\n[server.services.x\ntoken = ",
                vec![unix()],
            ),
            ("[client.admin]\nbind_addr = '127.0.0.1:9333'", vec![]),
            ("server = 1", vec![]),
            ("[server.admin]\nbind_addr = 'unix:relative'", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(admin_doors(text, "server"), doors, "{text}");
        }
    }
}
