//! Countries: what a log calls them, where their people live, and how far two of them are apart.
//!
//! Many logs say only "USA" or "Brazil", and so do country databases. A centre and a radius would misfire: the centres of
//! the United States and Canada are 1,250 km apart, and the border is a walk. So a country is up to 24 discs that cover
//! 99.7 % of its people, and the gap between two countries is the least distance between their discs: a lower bound
//! on how far two people can be apart. Borders alone would not do: the Bering Strait is 4 km wide, and nobody lives there.
//!
//! Names are normalised and then matched exactly; matching them loosely turned "Niger" into "Nigeria" in every library tried.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// An ISO 3166-1 country or territory. Written as its two-letter code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(u8);

/// Mean radius of the Earth.
const EARTH_KM: f64 = 6371.0088;
/// A normalised name; the longest known one has 57 bytes. Longer: no country.
const NAME_BYTES_MAX: usize = 64;

impl Country {
    /// The country that a log means: a two- or three-letter code, or a name in English, German, French, Spanish,
    /// Portuguese, Italian or Dutch, in any case, with or without accents, dots and articles.
    pub fn find(text: &str) -> Option<Country> {
        let text = text.trim();
        let table = table();
        if let [a, b] = *text.as_bytes() {
            let code = [a.to_ascii_uppercase(), b.to_ascii_uppercase()];
            if let Some(country) = code_place(code).and_then(|it| table.by_code[it]) {
                return Some(country);
            }
        }
        let mut name = Name::default();
        name.normalise(text)?;
        table.by_name.get(name.bytes()).copied()
    }

    /// ISO 3166-1 alpha-2.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The English name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Where its people live on average: latitude and longitude. None for four places without people.
    pub fn centre(self) -> Option<(f32, f32)> {
        self.row().centre
    }

    /// Two thirds of its people live within this of the centre. Zero where there is no centre.
    pub fn radius_km(self) -> f32 {
        self.row().radius_km
    }

    /// At least so far is anybody in `a` from anybody in `b`; whole kilometres, rounded down. Zero for neighbours, and where
    /// we do not know. Computed when first asked for.
    pub fn gap_km(a: Country, b: Country) -> f64 {
        let table = table();
        let (low, high) = (a.min(b), a.max(b));
        let known = &table.gaps[usize::from(low.0) * table.rows.len() + usize::from(high.0)];
        match known.load(Ordering::Relaxed) {
            // Two threads may both compute it; they find the same.
            UNKNOWN => {
                let gap = gap_km(&low.row().discs, &high.row().discs);
                known.store(gap, Ordering::Relaxed);
                f64::from(gap)
            }
            gap => f64::from(gap),
        }
    }

    fn row(self) -> &'static Row {
        &table().rows[usize::from(self.0)]
    }
}

impl std::fmt::Debug for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

/// The number of a country changes when the table does; its code does not.
impl Serialize for Country {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Country::find(&code).ok_or_else(|| de::Error::custom(format!("`{code}` is no country")))
    }
}

struct Table {
    /// By code.
    rows: Vec<Row>,
    /// For each two letters: every login asks, so nothing is searched.
    by_code: Vec<Option<Country>>,
    /// By normalised name.
    by_name: HashMap<&'static [u8], Country>,
    /// rows × rows; 125 KB, most of it never touched.
    gaps: Vec<AtomicU16>,
}

struct Row {
    code: &'static str,
    name: &'static str,
    centre: Option<(f32, f32)>,
    radius_km: f32,
    discs: Vec<Disc>,
}

/// A centre as a point on the unit sphere, so that a distance costs one square root and one arc sine.
struct Disc {
    at: [f64; 3],
    radius_km: f64,
}

const UNKNOWN: u16 = u16::MAX;

/// Where two capital letters stand in [`Table::by_code`].
fn code_place([a, b]: [u8; 2]) -> Option<usize> {
    (a.is_ascii_uppercase() && b.is_ascii_uppercase()).then(|| usize::from(a - b'A') * 26 + usize::from(b - b'A'))
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let lines = |text: &'static str| text.lines().filter(|it| !it.starts_with('#') && !it.is_empty());
        let mut rows: Vec<Row> = lines(include_str!("../../geoip/countries.tsv")).map(row).collect();
        rows.sort_unstable_by_key(|it| it.code);
        let by_name = lines(include_str!("../../geoip/country_aliases.tsv"))
            .filter_map(|line| {
                let (name, code) = line.split_once('\t')?;
                let at = rows.binary_search_by_key(&code, |it| it.code).ok()?;
                Some((name.as_bytes(), Country(at as u8)))
            })
            .collect();
        let mut by_code = vec![None; 26 * 26];
        for (at, row) in rows.iter().enumerate() {
            if let Some(place) = row.code.as_bytes().try_into().ok().and_then(code_place) {
                by_code[place] = Some(Country(at as u8));
            }
        }
        let gaps = (0..rows.len() * rows.len()).map(|_| AtomicU16::new(UNKNOWN)).collect();
        Table { rows, by_code, by_name, gaps }
    })
}

/// `code code3 number name lat lon r50 r67 r95 discs`; everything after the name is empty where nobody lives.
fn row(line: &'static str) -> Row {
    let mut columns = line.split('\t');
    let mut next = || columns.next().unwrap_or_default();
    let (code, _, _, name) = (next(), next(), next(), next());
    let (lat, lon, _, radius_km, _, discs) = (next(), next(), next(), next(), next(), next());
    let disc = |text: &str| {
        let mut numbers = text.split(',').map_while(|it| it.parse::<f64>().ok());
        let (lat, lon, radius_km) = (numbers.next()?.to_radians(), numbers.next()?.to_radians(), numbers.next()?);
        Some(Disc { at: [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], radius_km })
    };
    Row {
        code,
        name,
        centre: lat.parse().ok().zip(lon.parse().ok()),
        radius_km: radius_km.parse().unwrap_or_default(),
        discs: discs.split(';').filter_map(disc).collect(),
    }
}

fn gap_km(a: &[Disc], b: &[Disc]) -> u16 {
    let mut least = f64::INFINITY;
    for x in a {
        for y in b {
            let chord = (0..3).map(|axis| (x.at[axis] - y.at[axis]).powi(2)).sum::<f64>().sqrt();
            let distance = 2.0 * EARTH_KM * (chord / 2.0).min(1.0).asin();
            least = least.min(distance - x.radius_km - y.radius_km);
        }
    }
    if least.is_finite() { least.max(0.0) as u16 } else { 0 }
}

/// A name in normal form: lower-case ASCII letters and digits, words parted by one space, without "the" and "of".
struct Name {
    text: [u8; NAME_BYTES_MAX],
    len: usize,
    /// Where the word being written begins.
    word: usize,
}

impl Default for Name {
    fn default() -> Name {
        Name { text: [0; NAME_BYTES_MAX], len: 0, word: 0 }
    }
}

impl Name {
    fn bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }

    /// None when the name is longer than any country's.
    fn normalise(&mut self, text: &str) -> Option<()> {
        if text.is_ascii() {
            text.bytes().try_for_each(|it| self.take(char::from(it)))?;
        } else {
            text.nfkd().filter(|it| !is_combining_mark(*it)).try_for_each(|it| self.take(it))?;
        }
        self.end_word()?;
        if self.text[..self.len].last() == Some(&b' ') {
            self.len -= 1;
        }
        Some(())
    }

    fn take(&mut self, it: char) -> Option<()> {
        match it {
            'a'..='z' | '0'..='9' | 'A'..='Z' => self.push(it.to_ascii_lowercase() as u8),
            '\'' | '\u{2019}' | '.' | '`' => Some(()),
            '&' => {
                self.end_word()?;
                b"and".iter().try_for_each(|it| self.push(*it))?;
                self.end_word()
            }
            // Letters that Unicode does not take apart.
            'ı' => self.push(b'i'),
            'ø' | 'Ø' => self.push(b'o'),
            'ł' | 'Ł' => self.push(b'l'),
            'đ' | 'Đ' => self.push(b'd'),
            'æ' | 'Æ' => self.push(b'a').and_then(|()| self.push(b'e')),
            'ß' => self.push(b's').and_then(|()| self.push(b's')),
            _ => self.end_word(),
        }
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.text.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    fn end_word(&mut self) -> Option<()> {
        match &self.text[self.word..self.len] {
            b"" => return Some(()),
            b"the" | b"of" => {
                self.len = self.word;
                return Some(());
            }
            b"st" if self.word == 0 => {
                self.len = 0;
                b"saint".iter().try_for_each(|it| self.push(*it))?;
            }
            _ => {}
        }
        self.push(b' ')?;
        self.word = self.len;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str) {
        assert_eq!(Country::find(text).map_or("none", Country::code), code, "{text}");
    }

    #[test]
    fn names_that_logs_carry() {
        for (code, names) in [
            ("US", "US us USA U.S. U.S.A. United_States THE_UNITED_STATES_OF_AMERICA Estados_Unidos"),
            ("BR", "BR BRA Brazil brasil BRASIL Brésil Brasilien"),
            ("GB", "GB UK United_Kingdom Great_Britain GBR"),
            ("KR", "Korea,_Republic_of South_Korea Südkorea"),
            ("KP", "North_Korea Korea,_Democratic_People's_Republic_of"),
            ("CI", "Côte_d'Ivoire Cote_d’Ivoire Ivory_Coast"),
            ("RE", "Réunion REUNION Re\u{301}union"),
            ("KN", "St._Kitts_&_Nevis Saint_Kitts_and_Nevis"),
            ("NE", "Niger"),
            ("NG", "Nigeria"),
            ("VN", "Viet_Nam Vietnam"),
            ("TR", "Turkey Türkiye"),
            ("AX", "Åland_Islands"),
            ("DE", "Germany Deutschland Allemagne __germany_"),
            ("none", "Atlantis Private - Россия _ . ? ZZ zzz"),
        ] {
            for name in names.split(' ') {
                check(&name.replace('_', " "), code);
            }
        }
        check("", "none");
        check(&"a".repeat(1000), "none");
        check(&"é the ".repeat(1000), "none");
    }

    #[test]
    fn gaps_are_lower_bounds_between_people() {
        for (a, b, least, most) in [
            ("US", "BR", 2990.0, 3020.0),
            ("US", "CA", 0.0, 0.0),
            ("FR", "DE", 0.0, 0.0),
            ("US", "RU", 1200.0, 1240.0),
            ("GB", "FR", 0.0, 20.0),
            ("US", "CN", 3800.0, 3830.0),
            ("FJ", "WS", 500.0, 1140.0),
            ("US", "BV", 0.0, 0.0),
            ("NO", "NO", 0.0, 0.0),
        ] {
            let (x, y) = (Country::find(a).unwrap(), Country::find(b).unwrap());
            let gap = Country::gap_km(x, y);
            assert!((least..=most).contains(&gap), "{a}-{b}: {gap}");
            assert_eq!(gap, Country::gap_km(y, x));
            assert_eq!(gap, Country::gap_km(x, y), "the second answer comes from the table");
        }
    }

    #[test]
    fn every_country_is_whole() {
        assert_eq!(table().rows.len(), 250);
        assert_eq!(table().rows.iter().filter(|it| it.centre.is_some()).count(), 246);
        assert!(table().by_name.len() > 1500);
        for (at, row) in table().rows.iter().enumerate() {
            check(row.code, row.code);
            check(row.name, row.code);
            assert_eq!(row.centre.is_some(), !row.discs.is_empty(), "{}", row.code);
            let country = Country(at as u8);
            let text = serde_json::to_string(&country).unwrap();
            assert_eq!(serde_json::from_str::<Country>(&text).unwrap(), country);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_harmless(text in "\\PC{0,80}") {
            let _ = Country::find(&text);
        }
    }
}
