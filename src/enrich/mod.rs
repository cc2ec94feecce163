//! Facts added to an event: where its address is, and what country its words mean.
//!
//! What the record itself says comes first: a vendor that wrote `USA` saw more than a database of today. The databases add
//! what the record leaves out, unless the two name different countries; then the database speaks of another place.

pub mod geo;

use std::fmt::Write as _;
use std::sync::Arc;

use geo::{Cache, Geo, Place};

use crate::model::country::Country;
use crate::model::{Carried, Event, EventBuf, FieldId, Fields, HitBatch, Slot, TextRange, address};

/// The fields of this stage. Their names are ECS, but `radius_km` (how far the place may be off) and `source.network`.
#[derive(Clone, Copy, Debug)]
pub struct GeoFields {
    ip: FieldId,
    /// Latitude and longitude as a schema writes them: `48.86,2.35`.
    location: FieldId,
    country_iso_code: FieldId,
    country_name: FieldId,
    city_name: FieldId,
    latitude: FieldId,
    longitude: FieldId,
    radius_km: FieldId,
    as_number: FieldId,
    as_name: FieldId,
    network: FieldId,
}

/// In the order of [`GeoFields`], without the address.
pub const GEO_FIELDS: [&str; 9] = [
    "source.geo.country_iso_code",
    "source.geo.country_name",
    "source.geo.city_name",
    "source.geo.location.lat",
    "source.geo.location.lon",
    "source.geo.radius_km",
    "source.as.number",
    "source.as.organization.name",
    "source.network",
];

/// What schemas write a point as; this stage takes it apart.
const LOCATION: &str = "source.geo.location";

/// Whether this stage fills the field.
pub fn is_geo_field(name: &str) -> bool {
    GEO_FIELDS.contains(&name)
}

/// Whether this stage needs the field from the record.
pub fn is_geo_source(name: &str) -> bool {
    name == LOCATION || name == "source.ip"
}

impl GeoFields {
    /// The fields that are filled.
    pub fn ids(&self) -> impl Iterator<Item = FieldId> {
        let place = [self.country_iso_code, self.country_name, self.city_name, self.latitude, self.longitude];
        place.into_iter().chain([self.radius_km, self.as_number, self.as_name, self.network])
    }

    pub fn intern(fields: &mut Fields) -> GeoFields {
        let [country_iso_code, country_name, city_name, latitude, longitude, radius_km, as_number, as_name, network] =
            GEO_FIELDS.map(|it| fields.mapped(it));
        let ip = fields.mapped("source.ip");
        let location = fields.mapped(LOCATION);
        GeoFields {
            ip,
            location,
            country_iso_code,
            country_name,
            city_name,
            latitude,
            longitude,
            radius_km,
            as_number,
            as_name,
            network,
        }
    }
}

/// One thread's way to the databases.
pub struct Enricher {
    geo: Arc<Geo>,
    cache: Cache,
    texts: String,
}

/// What is known of where an event came from.
pub struct Whereabouts<'a> {
    country: Option<Country>,
    /// A country that no table knows, as the record or the database writes it.
    country_code: Option<&'a str>,
    country_name: Option<&'a str>,
    city: Option<&'a str>,
    point: Option<(f64, f64)>,
    radius_km: Option<f32>,
    place: Option<&'a Place>,
}

impl Enricher {
    pub fn new(geo: Arc<Geo>) -> Enricher {
        Enricher { geo, cache: Cache::default(), texts: String::new() }
    }

    /// Another that knows as much and has nothing under way.
    pub fn renewed(&self) -> Enricher {
        Enricher::new(self.geo.clone())
    }

    /// Writes all geo fields that are known into the event. Texts go through a buffer that is kept, for what is known may
    /// stand in the event itself, which cannot be read and written at once.
    pub fn fill(&mut self, fields: &GeoFields, record: &str, buf: &mut EventBuf) {
        let Enricher { geo, cache, texts } = self;
        texts.clear();
        let found = whereabouts(geo, cache, fields, Event { record, buf });
        let organization = found.place.and_then(|it| it.as_org.as_deref());
        let mut ranges = [0; 6];
        for (index, text) in [found.code(), found.name(), found.city, organization].into_iter().enumerate() {
            texts.push_str(text.unwrap_or(""));
            ranges[index + 1] = texts.len();
        }
        for (index, name) in found.place.iter().flat_map(|it| it.network.names()).enumerate() {
            texts.push_str(if index > 0 { "," } else { "" });
            texts.push_str(name);
        }
        ranges[5] = texts.len();
        let numbers = [
            (fields.latitude, found.point.map(|it| it.0)),
            (fields.longitude, found.point.map(|it| it.1)),
            (fields.radius_km, found.radius_km.map(f64::from)),
            (fields.as_number, found.place.and_then(|it| it.asn).map(f64::from)),
        ];
        buf.unset(fields.location);
        let names = [fields.country_iso_code, fields.country_name, fields.city_name, fields.as_name, fields.network];
        for (index, field) in names.into_iter().enumerate() {
            let text = &texts[ranges[index]..ranges[index + 1]];
            if !text.is_empty() {
                buf.set_text(field, text);
            }
        }
        for (field, number) in numbers {
            if let Some(number) = number {
                let start = buf.scratch.len();
                // Writing to a String cannot fail.
                let _ = write!(buf.scratch, "{}", rounded(number));
                let len = buf.scratch.len() - start;
                buf.set(field, Slot::number(crate::model::Place::Scratch, start, len));
            }
        }
    }

    /// What is known of where an event that was not filled came from.
    pub fn whereabouts<'a>(&'a mut self, fields: &GeoFields, event: Event<'a>) -> Whereabouts<'a> {
        whereabouts(&self.geo, &mut self.cache, fields, event)
    }
}

/// To ten metres or so.
fn rounded(degrees: f64) -> f64 {
    (degrees * 1e4).round() / 1e4
}

fn whereabouts<'a>(geo: &Geo, cache: &'a mut Cache, fields: &GeoFields, event: Event<'a>) -> Whereabouts<'a> {
    let place = event.text(fields.ip).and_then(address::parse);
    let place = place.map(|it| geo.lookup(it, cache).as_ref());
    let said = event.text(fields.country_iso_code).or_else(|| event.text(fields.country_name));
    let country = said.and_then(Country::find);
    let city = event.text(fields.city_name);
    let number = |field| event.get(field).and_then(crate::model::Value::as_f64);
    let written = event.text(fields.location).and_then(|it| it.split_once(','));
    let written = written.and_then(|(lat, lon)| Some((lat.trim().parse().ok()?, lon.trim().parse().ok()?)));
    let point = number(fields.latitude).zip(number(fields.longitude)).or(written).filter(|(lat, lon): &(f64, f64)| {
        (-90.0..=90.0).contains(lat) && (-180.0..=180.0).contains(lon) && (*lat, *lon) != (0.0, 0.0)
    });
    let looked_up = place.and_then(|it| it.country_code.as_ref()).map(geo::CountryCode::as_str);
    let agrees = said.is_none() || country.is_some() && looked_up.and_then(Country::find) == country;
    let fitting = place.filter(|_| agrees);
    let own_place = city.is_some() || point.is_some();
    let spot = fitting.filter(|_| !own_place);
    Whereabouts {
        country: country.or_else(|| fitting.and(looked_up).and_then(Country::find)),
        country_code: said.filter(|it| it.len() == 2).or(fitting.and(looked_up)),
        country_name: said.filter(|it| it.len() > 2),
        city: city.or_else(|| spot.and_then(|it| it.city.as_deref())),
        point: point.or_else(|| spot.and_then(Place::point).map(|(lat, lon)| (f64::from(lat), f64::from(lon)))),
        radius_km: number(fields.radius_km).map(|it| it as f32).or_else(|| spot.and_then(|it| it.radius_km)),
        place,
    }
}

impl Whereabouts<'_> {
    /// One geo field, as a hit carries it: the same as [`Enricher::fill`] writes, for rules do not know which of the two was
    /// done. None when the field is not of this stage.
    pub fn value(&self, fields: &GeoFields, field: FieldId, batch: &mut HitBatch) -> Option<Carried> {
        let text =
            |it: Option<&str>, batch: &mut HitBatch| it.map_or(Carried::Absent, |it| Carried::Text(batch.push(it)));
        let number = |it: Option<f64>| it.map_or(Carried::Absent, |it| Carried::Number(rounded(it)));
        Some(match field {
            it if it == fields.country_iso_code => text(self.code(), batch),
            it if it == fields.country_name => text(self.name(), batch),
            it if it == fields.city_name => text(self.city, batch),
            it if it == fields.latitude => number(self.point.map(|it| it.0)),
            it if it == fields.longitude => number(self.point.map(|it| it.1)),
            it if it == fields.radius_km => number(self.radius_km.map(f64::from)),
            // Of networks, what the record says stands where no database knows better.
            it if it == fields.as_number => Carried::Number(f64::from(self.place?.asn?)),
            it if it == fields.as_name => text(Some(self.place?.as_org.as_deref()?), batch),
            it if it == fields.network => {
                let start = batch.text.len();
                for name in self.place.filter(|it| !it.network.is_empty())?.network.names() {
                    batch.text.push_str(if batch.text.len() > start { "," } else { "" });
                    batch.text.push_str(name);
                }
                Carried::Text(TextRange { start: start as u32, len: (batch.text.len() - start) as u32 })
            }
            _ => return None,
        })
    }

    fn code(&self) -> Option<&str> {
        self.country.map(Country::code).or(self.country_code)
    }

    fn name(&self) -> Option<&str> {
        self.country.map(Country::name).or(self.country_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_only_the_record_knows_is_not_lost() {
        let mut fields = Fields::default();
        fields.mapped("source.geo.country_iso_code");
        let bytes = fields.mapped("source.bytes");
        let geo = GeoFields::intern(&mut fields);
        let asn = fields.mapped("source.as.number");
        let mut buf = EventBuf::new(fields.len(), "".into());
        buf.clear();
        buf.set_text(asn, "64500");
        let mut enricher = Enricher::new(Arc::new(Geo::shipped()));
        let found = enricher.whereabouts(&geo, Event { record: "", buf: &buf });
        assert_eq!(found.value(&geo, asn, &mut HitBatch::default()), None);
        assert_eq!(found.value(&geo, bytes, &mut HitBatch::default()), None);
    }
}
