//! `error_pages`: the user's own pages, read when the configuration is.

use std::path::Path;

use super::env_file::ReadFile;
use super::error::ConfigError;
use super::raw::Section;
use crate::limits::ERROR_PAGE_BYTES;
use crate::proto::http_entry::page::{self, Page, Pages};

/// `error_pages = { 404 = "file", … }`
pub(super) fn read(section: &Section<'_>, file: ReadFile<'_>) -> Result<Pages, ConfigError> {
    let mut pages = Pages::default();
    for (status, name) in section.named_texts("error_pages")? {
        let wrong = |reason: String| Err(name.place.error(reason));
        let Some(status) = page::STATUSES.iter().find(|it| it.to_string() == status) else {
            let known: Vec<_> = page::STATUSES.iter().map(u16::to_string).collect();
            return wrong(format!("no such page; there are {}", known.join(", ")));
        };
        let extension = Path::new(&name.value).extension().and_then(|it| it.to_str());
        let media_type = match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("html" | "htm") => "text/html; charset=utf-8",
            Some("txt") => "text/plain; charset=utf-8",
            _ => return wrong("the file's name ends in `.html` or `.txt`".into()),
        };
        let body = match file(&name.value, ERROR_PAGE_BYTES) {
            Ok(body) if body.len() > ERROR_PAGE_BYTES => {
                return wrong(format!("the file has more than {ERROR_PAGE_BYTES} bytes"));
            }
            Ok(body) => body,
            Err(error) => return wrong(format!("cannot read the file: {error}")),
        };
        if std::str::from_utf8(&body).is_err() {
            return wrong("the file is not UTF-8".into());
        }
        pages.set(Page { status: *status, media_type, body });
    }
    Ok(pages)
}
