//! One database file.
//!
//! The reader library checks every offset as it goes, so a damaged file gives errors, not crashes; its own full check
//! (`verify`) is of no use here, because it takes minutes of tree on large files and refuses good ones (a missing
//! description is enough). What an operator must learn at once, that this is no database, or one cut off half-way through a
//! copy, a walk over a few hundred networks shows in a millisecond.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use maxminddb::{MaxMindDbError, Reader};

use super::record::Found;
use super::{GeoError, Place};
use crate::limits;
use crate::model::Timestamp;

const SHIPPED: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/geoip/country.mmdb"));
const SHIPPED_NAME: &str = "shipped country database";
const SHIPPED_NOTICE: &str = "RIR statistics data © NRO, CC BY 4.0, nro.net";

/// A file read into memory: a mapped file that is cut short under us would end the process.
pub(super) struct Database {
    /// None for the shipped one.
    pub file: Option<PathBuf>,
    /// How the file looked just before it was read.
    pub stamp: Option<Stamp>,
    /// It came with the program.
    pub shipped: bool,
    bytes: usize,
    reader: Reader<Cow<'static, [u8]>>,
}

/// What tells a replaced file from the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// None when there is no such file.
    pub fn of(file: &Path) -> Option<Stamp> {
        let found = std::fs::metadata(file).ok()?;
        Some(Stamp { len: found.len(), modified: found.modified().ok() })
    }
}

/// What a loaded database says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// The file's path, or that it is the shipped one.
    pub file: String,
    /// The vendor's name for the kind of database (`GeoLite2-City`).
    pub database_type: String,
    /// None when the file does not say, or says nonsense.
    pub built: Option<Timestamp>,
    /// 4, or 6 for both.
    pub ip_version: u16,
    pub nodes: u32,
    pub bytes: usize,
    /// Which of `country`, `city`, `point`, `asn`, `network` were found in a sample of its records. Empty: this schema is
    /// not known here, or the database has no records.
    pub gives: Vec<&'static str>,
    /// What its licence asks to be said.
    pub notice: Option<&'static str>,
}

impl Info {
    /// Days since it was built.
    pub fn age_days(&self, now: Timestamp) -> Option<i64> {
        self.built.map(|it| now.since(it).micros() / 86_400_000_000)
    }

    /// What the operator should hear about it, if anything.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        if self.gives.is_empty() {
            return Some("no record of the sample has a country, city, point, ASN or network kind".into());
        }
        let days = self.age_days(now).filter(|it| *it > limits::GEO_AGE_DAYS_MAX)?;
        Some(format!("{days} days old; addresses change hands, so replace it every {} days", limits::GEO_AGE_DAYS_MAX))
    }
}

/// Networks looked at when a file is opened.
const SAMPLE_NETWORKS: usize = 256;

impl Database {
    pub fn shipped() -> Database {
        let reader = Reader::from_source(Cow::Borrowed(SHIPPED)).expect("the build's tests read the shipped database");
        Database { file: None, stamp: None, shipped: true, bytes: SHIPPED.len(), reader }
    }

    pub fn open(file: &Path) -> Result<Database, GeoError> {
        let refuse = |problem: String| GeoError::new(file, problem);
        let found = std::fs::metadata(file).map_err(|it| refuse(format!("cannot be read: {it}")))?;
        if !found.is_file() {
            return Err(refuse("is no file; give the path of an .mmdb file".into()));
        }
        if found.len() > limits::GEO_FILE_BYTES_MAX {
            return Err(refuse(format!("is larger than {} bytes", limits::GEO_FILE_BYTES_MAX)));
        }
        let stamp = Stamp { len: found.len(), modified: found.modified().ok() };
        let bytes = std::fs::read(file).map_err(|it| refuse(format!("cannot be read: {it}")))?;
        Database::read(bytes, Some(file.into()), Some(stamp)).map_err(refuse)
    }

    /// From the bytes of a file; the error says what is wrong with them.
    pub fn read(bytes: Vec<u8>, file: Option<PathBuf>, stamp: Option<Stamp>) -> Result<Database, String> {
        let (kind, len) = (look(&bytes), bytes.len());
        let reader = Reader::from_source(Cow::Owned(bytes)).map_err(|it| match kind {
            Some(kind) => kind.to_string(),
            None => format!("is no whole MaxMind database: {it}"),
        })?;
        let database = Database { file, stamp, shipped: false, bytes: len, reader };
        database.sample().map_err(|it| format!("is damaged: {it}"))?;
        Ok(database)
    }

    /// Where the record of a host stands in the data; None when it has none.
    pub fn record(&self, host: IpAddr) -> Result<Option<u32>, MaxMindDbError> {
        if host.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(None);
        }
        Ok(self.reader.lookup(host)?.offset().and_then(|it| u32::try_from(it).ok()))
    }

    /// What the record of a host says; an empty place when it has none.
    pub fn decode(&self, host: IpAddr) -> Result<Place, MaxMindDbError> {
        if host.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(Place::default());
        }
        Ok(self.reader.lookup(host)?.decode::<Found>()?.map(Found::into_place).unwrap_or_default())
    }

    pub fn info(&self) -> Info {
        let about = self.reader.metadata();
        let micros = i64::try_from(about.build_epoch).ok().filter(|it| (1..253_402_300_800).contains(it));
        Info {
            file: self.file.as_ref().map_or(SHIPPED_NAME.into(), |it| it.display().to_string()),
            database_type: about.database_type.clone(),
            built: micros.map(|it| Timestamp::from_micros(it * 1_000_000)),
            ip_version: about.ip_version,
            nodes: about.node_count,
            bytes: self.bytes,
            gives: self.sample().unwrap_or_default(),
            notice: self.file.is_none().then_some(SHIPPED_NOTICE),
        }
    }

    /// Reads some records: the first networks of IPv4 and of IPv6, and some spread over all. Says which fields they gave;
    /// the first that cannot be read is the error.
    fn sample(&self) -> Result<Vec<&'static str>, MaxMindDbError> {
        let mut gives = [("country", false), ("city", false), ("point", false), ("asn", false), ("network", false)];
        let mut note = |place: Place| {
            let has = [
                place.country_code.is_some(),
                place.city.is_some(),
                place.latitude.is_some(),
                place.asn.is_some(),
                !place.network.is_empty(),
            ];
            gives.iter_mut().zip(has).for_each(|(given, has)| given.1 |= has);
        };
        for start in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from(0x2000 << 112))] {
            let mut next = Some(start);
            for _ in 0..SAMPLE_NETWORKS {
                let Some(host) = next else { break };
                note(self.decode(host)?);
                next = self.after_network(host)?;
            }
        }
        for number in 0..SAMPLE_NETWORKS as u32 {
            note(self.decode(IpAddr::V4(Ipv4Addr::from(number << 24 | number.wrapping_mul(0x9e37_79b9) >> 8)))?);
        }
        Ok(gives.into_iter().filter(|it| it.1).map(|it| it.0).collect())
    }

    /// The first address behind the network that a host is in.
    fn after_network(&self, host: IpAddr) -> Result<Option<IpAddr>, MaxMindDbError> {
        let six = self.reader.metadata().ip_version == 6;
        if host.is_ipv6() && !six {
            return Ok(None);
        }
        let network = self.reader.lookup(host)?.network()?;
        let width = u32::from(network.prefix());
        Ok(match host {
            IpAddr::V4(_) if network.is_ipv6() || width == 0 => None,
            IpAddr::V4(it) => {
                let size = 1u64 << (32 - width.min(32));
                u32::try_from((u64::from(u32::from(it)) & !(size - 1)) + size).ok().map(|it| IpAddr::V4(it.into()))
            }
            IpAddr::V6(_) if width == 0 => None,
            IpAddr::V6(it) => {
                let size = 1u128 << (128 - width.min(128));
                (u128::from(it) & !(size - 1)).checked_add(size).map(|it| IpAddr::V6(it.into()))
            }
        })
    }
}

/// What bytes that are no database most likely are.
fn look(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [] => Some("is empty"),
        [0x1f, 0x8b, ..] => Some("is compressed with gzip; unpack it first (gunzip, or tar xzf)"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("is compressed with zstd; unpack it first"),
        [b'P', b'K', 3, 4, ..] => Some("is a zip archive; unpack it first"),
        _ if bytes.trim_ascii_start().starts_with(b"<") => Some("is a web page, not a MaxMind database"),
        _ if bytes.starts_with(b"version https://git-lfs") => Some("is a pointer of Git LFS, not the database itself"),
        _ => None,
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("file", &self.file).field("metadata", self.reader.metadata()).finish()
    }
}
