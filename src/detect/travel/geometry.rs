//! How far, how fast, and how wrong geo databases are.

use crate::model::Span;

const EARTH_KM: f64 = 6371.0088;
/// Nobody beats that from door to door on the ground, by motorway or by train.
const GROUND_KM_H: f64 = 160.0;
/// An airliner with a tail wind.
const AIR_KM_H: f64 = 950.0;
/// From the last sign-in at the gate to the first on the taxiway; check-in is no part of it, for people sign in there.
const AIR_OVERHEAD_H: f64 = 0.75;

/// Great-circle distance between two (latitude, longitude) pairs in degrees.
pub fn distance_km(a: (f32, f32), b: (f32, f32)) -> f64 {
    let (lat_a, lat_b) = (f64::from(a.0).to_radians(), f64::from(b.0).to_radians());
    let east = (f64::from(b.1) - f64::from(a.1)).to_radians();
    let h = ((lat_b - lat_a) / 2.0).sin().powi(2) + lat_a.cos() * lat_b.cos() * (east / 2.0).sin().powi(2);
    2.0 * EARTH_KM * h.sqrt().min(1.0).asin()
}

/// The least time in which a person can move that far.
pub fn fastest(km: f64) -> Span {
    let hours = if km <= 0.0 { 0.0 } else { (km / GROUND_KM_H).min(AIR_OVERHEAD_H + km / AIR_KM_H) };
    Span::from_micros((hours * 3600e6) as i64)
}

/// How far a person can move in that time; the inverse of [`fastest`].
pub fn reach_km(time: Span) -> f64 {
    let hours = time.as_secs_f64() / 3600.0;
    (GROUND_KM_H * hours).max(AIR_KM_H * (hours - AIR_OVERHEAD_H))
}

/// The chance that ONE database is wrong by more than `beyond_km`, given the radius it claims.
///
/// Two city databases, compared over 39,376 addresses, differ by more than x with a chance of 1 / (1 + (x/m)^b); half of
/// that is each one's own. The radius is a scale and no bound: in half the cases the other database lies outside of it, and
/// in one of ten beyond eight radii. So subtracting radii removes the easy noise and leaves the tail.
pub fn error_tail(beyond_km: f64, radius_km: f32) -> f64 {
    if beyond_km <= 0.0 {
        return 1.0;
    }
    let (m, b): (f64, f64) = match radius_km {
        ..=10.0 => (10.0, 0.65),
        ..=30.0 => (15.0, 0.65),
        ..=75.0 => (50.0, 0.80),
        ..=150.0 => (110.0, 1.15),
        ..=300.0 => (235.0, 1.5),
        _ => (650.0, 1.7),
    };
    1.0 / (1.0 + 2.0 * (beyond_km / m).powf(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_distance(a: (f32, f32), b: (f32, f32), expected: f64) {
        let found = distance_km(a, b);
        assert!((found - expected).abs() < 0.005 * expected + 0.1, "{a:?} {b:?}: {found}, expected {expected}");
        assert!((distance_km(b, a) - found).abs() < 1e-6);
    }

    #[test]
    fn distances() {
        check_distance((51.51, -0.13), (6.52, 3.38), 5010.0);
        check_distance((-18.14, 178.44), (-13.83, -171.77), 1155.0);
        check_distance((0.0, 0.0), (0.0, 180.0), 20015.0);
        check_distance((90.0, 0.0), (-90.0, 77.0), 20015.0);
        check_distance((10.0, 180.0), (10.0, -180.0), 0.0);
        check_distance((51.51, -0.13), (40.71, -74.01), 5570.0);
    }

    #[test]
    fn reach_is_the_inverse_of_fastest() {
        for km in [1.0, 100.0, 144.0, 145.0, 1000.0, 10_000.0, 20_015.0] {
            assert!((reach_km(fastest(km)) - km).abs() < 0.01, "{km}");
        }
        assert_eq!(reach_km(Span::ZERO), 0.0);
        assert_eq!(fastest(-3.0), Span::ZERO);
    }

    proptest::proptest! {
        #[test]
        fn an_error_is_a_chance_that_falls_with_distance(km in -10.0f64..20_000.0, more in 0.0f64..5_000.0, radius in 0.0f32..2000.0) {
            let (near, far) = (error_tail(km, radius), error_tail(km + more, radius));
            proptest::prop_assert!((0.0..=1.0).contains(&far) && far <= near);
        }
    }
}
