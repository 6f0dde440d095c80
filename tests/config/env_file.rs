//! `env_file`: what a file says, which file counts, and what is wrong in one.

use std::fs;
use std::path::PathBuf;

use underpass::config::{Config, ConfigError};

use crate::MARKER;
use crate::folder::Folder;

impl Folder {
    /// A server's file whose one token is `token`, with these `env_file`s.
    fn load(&self, env_file: &str, token: &str) -> Result<String, ConfigError> {
        let text = format!(
            "env_file = {env_file}\n[server]\nbind_addr = '[::1]:1'\n[server.services.a]\n\
             bind_addr = '[::1]:2'\ntoken = '{token}'\n"
        );
        let env = |name: &str| (name == "OUTSIDE").then(|| "of the environment".to_owned());
        let config = self.parse(&text, &env)?;
        let token = config.server.expect("[server]").services[0].tokens[0].expose().to_vec();
        Ok(String::from_utf8(token).expect("UTF-8"))
    }

    /// The value of `A`, or the error without the folder.
    fn value(&self, file: &str) -> Result<String, String> {
        self.with(".env", file).load("'.env'", "${A}").map_err(|error| {
            let debug = format!("{error:?}");
            assert!(!debug.contains(MARKER), "{debug}");
            self.shown(&error)
        })
    }
}

#[test]
fn values_are_read_as_compose_reads_them() {
    let folder = Folder::new("env-values");
    for (file, value) in [
        ("A=x", "x"),
        ("A = x y \n", "x y"),
        ("\u{feff}A=x\r\nB=y\r\n", "x"),
        ("\n# A=no\n  export A=x\nexport\tB=y", "x"),
        ("A: x", "x"),
        ("other.name-2=1\nexported=2\nA=x", "x"),
        ("A=no\nA=x", "x"),
        // Comments, and what is none.
        ("A=x # y", "x"),
        ("A=x\t#y", "x"),
        ("A=x#y", "x#y"),
        ("A=#y", "#y"),
        ("A='x' # y", "x"),
        ("A=\"x # y\" # z", "x # y"),
        // Quotes.
        ("A='x\\ny$B${C}$$'", "x\\ny$B${C}$$"),
        ("A='it\\'s'", "it's"),
        ("A=\"x\\ny\\t\\\"z\\\" \\\\ \\$B \\q\"", "x\ny\t\"z\" \\ $B \\q"),
        ("A='x\ny'\nB=z", "x\ny"),
        ("A=\"x\r\ny\"", "x\ny"),
        ("A=x'y\"z\\n", "x'y\"z\\n"),
        // Variables.
        ("B=b\nA=${B}.${OUTSIDE}", "b.of the environment"),
        ("OUTSIDE=no\nA=$OUTSIDE-${OUTSIDE}", "no-of the environment"),
        ("B=b\nA=\"x$B\"", "xb"),
        ("A=${B:-x}${B-y}${OUTSIDE:+z}${B+no}", "xyz"),
        ("C=c\nA=${B:-${C}}", "c"),
        ("A=a$$b", "a$b"),
        // What begins no variable stands for itself.
        (
            "A=admin:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
            "admin:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
        ),
        ("A=u:$2y$05$abc # bcrypt", "u:$2y$05$abc"),
        ("A=$B ${ ${1} ${B!} $", "$B ${ ${1} ${B!} $"),
    ] {
        assert_eq!(folder.value(file), Ok(value.to_owned()), "{file:?}");
    }
}

#[test]
fn errors_name_the_file_its_line_and_the_variable_but_no_value() {
    let folder = Folder::new("env-errors");
    let line = |line: usize, rest: &str| Err(format!(".env:{line}: {rest}"));
    for (file, error) in [
        (format!("A={MARKER}\n={MARKER}"), line(2, "a line is NAME=value or a # comment")),
        (format!("A={MARKER}\n\nB {MARKER}"), line(3, "a line is NAME=value or a # comment")),
        (format!("A='{MARKER}\n\n"), line(1, "A: the quote in front is never closed")),
        (
            format!("B='\n'\nA=\"{MARKER}\"{MARKER}"),
            line(3, "A: nothing but a comment may follow the closing quote"),
        ),
        (
            format!("A={MARKER}${{NONE}}"),
            line(
                1,
                "A: variable NONE is not set, neither in the environment nor further up; a literal \
                 `${` stands in single quotes",
            ),
        ),
        (
            format!("{}=1\n", MARKER.replace('_', " ")),
            line(1, "a line is NAME=value or a # comment"),
        ),
    ] {
        assert_eq!(folder.value(&file), error, "{file:?}");
    }
    folder.with(".env", b"A=1\nB=\xff");
    let error = folder.load("'.env'", "${A}").expect_err("not UTF-8").to_string();
    assert!(error.ends_with("/.env:2: not UTF-8"), "{error}");
    folder.with(".env", "#".repeat(64 * 1024 + 1));
    let error = folder.load("'.env'", "${A}").expect_err("too long").to_string();
    assert!(error.ends_with("f.toml:1: env_file: the file has more than 65536 bytes"), "{error}");
    let error = folder.load("['.env', 'no.env']", "${A}").expect_err("too long").to_string();
    assert!(error.contains("f.toml:1: env_file[0]: "), "{error}");
}

#[test]
fn the_environment_comes_first_then_the_last_file() {
    let folder = Folder::new("env-order");
    folder.with("a.env", "X=a\nY=a\nOUTSIDE=a").with("b.env", "Y=b\nZ=${X}");
    let all = "${X} ${Y} ${Z} ${OUTSIDE}";
    let value = folder.load("['a.env', 'b.env']", all).expect("it loads");
    assert_eq!(value, "a b a of the environment");
    // What a variable holds is not read again.
    folder.with("c.env", "X='${Y}'");
    assert_eq!(folder.load("'c.env'", "${X}").expect("it loads"), "${Y}");
    let error = folder.load("'a.env'", "${NONE}").expect_err("not set").to_string();
    let reason = "environment variable NONE is not set, nor in env_file (a literal `${` is `$${`)";
    assert!(error.ends_with(&format!("f.toml:6: server.services.a.token: {reason}")), "{error}");
    let error = folder.load("'d.env'", "x").expect_err("no file").to_string();
    let reason = "cannot read the file: No such file or directory (os error 2)";
    assert!(error.ends_with(&format!("f.toml:1: env_file: {reason}")), "{error}");
    let error = folder.load("'.'", "x").expect_err("no file").to_string();
    assert!(error.ends_with("f.toml:1: env_file: cannot read the file: it is no file"), "{error}");
}

#[test]
fn every_file_that_was_read_is_told_also_after_an_error() {
    let folder = Folder::new("env-seen");
    let seen = |text: &str| {
        folder.with("f.toml", text);
        let mut seen = Vec::new();
        let loaded = Config::load_noting(&folder.path("f.toml"), &mut seen);
        let name = |path: &PathBuf| {
            let name = path.strip_prefix(folder.path("")).expect("beside it");
            name.to_str().expect("UTF-8").to_owned()
        };
        assert!(seen.iter().all(|file| !file.has_changed()));
        (loaded.is_ok(), seen.iter().map(|file| name(&file.path)).collect::<Vec<_>>())
    };
    folder.with(".env", "A=1").with("404.html", "no");
    let good = "env_file = '.env'\n[server]\nbind_addr = '[::1]:1'\n";
    let pages = "error_pages = { 404 = '404.html', 503 = 'none.html' }\n";
    assert_eq!(seen(good), (true, vec!["f.toml".into(), ".env".into()]));
    let all = ["f.toml", ".env", "404.html", "none.html"].map(str::to_owned);
    assert_eq!(seen(&format!("{good}{pages}")), (false, all.to_vec()));
    assert_eq!(seen("["), (false, vec!["f.toml".into()]));

    let mut files = Vec::new();
    let path = folder.path("f.toml");
    assert!(Config::load_noting(&path, &mut files).is_err());
    let changed = || files[0].has_changed();
    folder.with("f.toml", "[");
    assert!(!changed(), "the same bytes");
    folder.with("f.toml", "[s");
    assert!(changed());
    fs::remove_file(&path).expect("removed");
    assert!(changed());
    let mut files = Vec::new();
    assert!(Config::load_noting(&path, &mut files).is_err());
    assert!(!files[0].has_changed(), "still gone");
    folder.with("f.toml", "");
    assert!(files[0].has_changed());
}
