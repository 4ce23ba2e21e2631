//! What signed manifests promise, on documents that the registry of 2015 and its successors wrote.
//!
//! `tests/fixtures/README.md` says where they come from.

use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::{fs, path::PathBuf, time::SystemTime};

fn fixture(name: &str) -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn list(name: &str) -> Vec<Value> {
    serde_json::from_slice(&fixture(name)).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Reads and verifies a document; gives it with the names of its keys.
fn judge(document: &[u8]) -> Result<(SignedManifest, Vec<String>)> {
    let manifest = SignedManifest::parse(document)?;
    let keys = manifest.verify()?;
    Ok((manifest, keys.iter().map(KeyId::to_string).collect()))
}

/// A document must be accepted with the digest and keys that are on record.
#[track_caller]
fn assert_accepted(vector: &Value, document: &[u8]) -> SignedManifest {
    let (manifest, keys) = judge(document).unwrap_or_else(|error| panic!("{vector}: {error}"));
    let digest = format!("sha256:{}", text(&vector["payload"], "sha256"));
    assert_eq!(manifest.digest().to_string(), digest, "{vector}");
    let expected: Vec<String> = serde_json::from_value(vector["key_ids"].clone()).unwrap();
    assert_eq!(keys, expected, "{vector}");
    manifest
}

/// Documents that may be taken or not, and what is done here: what is read is what was signed.
const POLICY: [(&str, bool); 3] = [
    // Which of the two members holds depends on the reader.
    ("dup-key-inside-payload", false),
    // The document lacks members that the payload has.
    ("valid-shorter-split", false),
    // One text for the same bytes.
    ("signature-base64-padded", false),
];

#[test]
fn every_signed_document_gets_its_verdict_digest_and_keys() {
    judge_all("schema1");
}

/// Kinds of keys that libtrust takes and nothing at hand signs with, signed by another library.
#[test]
fn every_kind_of_key_that_libtrust_takes_is_verified() {
    judge_all("signed");
}

fn judge_all(set: &str) {
    for vector in list(&format!("{set}.json")) {
        let name = text(&vector, "name");
        let document = fixture(&format!("{set}/{}", text(&vector, "file")));
        let accepted = match text(&vector, "required") {
            "accept" => true,
            "reject" => false,
            policy => {
                assert_eq!(policy, "policy");
                POLICY.iter().find(|(known, _)| *known == name).expect(name).1
            }
        };
        if accepted {
            assert_accepted(&vector, &document);
        } else {
            let error = judge(&document).map(|(_, keys)| keys).expect_err(name);
            assert!(
                matches!(
                    error,
                    Error::SignatureMissing
                        | Error::SignatureRejected(_)
                        | Error::ManifestInvalid(_)
                ),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn documents_of_skopeo_and_docker_registry_are_verified() {
    for vector in list("real.json") {
        let document = fixture(&format!("real/{}", text(&vector, "file")));
        let manifest = assert_accepted(&vector, &document);
        assert_eq!(manifest.document(), document, "{}", text(&vector, "file"));
    }
}

#[test]
fn a_document_is_put_together_again_as_libtrust_wrote_it() {
    for vector in list("schema1.json") {
        let document = fixture(&format!("schema1/{}", text(&vector, "file")));
        if vector["libtrust"]["reassembled"] != "identical" || judge(&document).is_err() {
            continue;
        }
        let manifest = SignedManifest::parse(&document).unwrap();
        let signatures = manifest.signatures();
        let again = signatures.iter().rev().map(Vec::as_slice);
        let again = SignedManifest::assemble(manifest.payload(), again).unwrap();
        let (is, was) = (again.document(), document);
        assert_eq!(String::from_utf8_lossy(&is), String::from_utf8_lossy(&was));
    }
}

#[test]
fn a_payload_and_the_signatures_kept_beside_it_make_the_document() {
    let decode = |text: &str| data_encoding::BASE64.decode(text.as_bytes()).unwrap();
    for vector in list("reassembly.json") {
        let payload = decode(text(&vector, "payload_base64"));
        let blobs: Vec<String> = serde_json::from_value(vector["signature_blobs"].clone()).unwrap();
        let manifest = SignedManifest::assemble(&payload, blobs.iter().map(String::as_bytes));
        let manifest = manifest.unwrap();
        assert_eq!(manifest.document(), decode(text(&vector, "pretty_base64")));
        manifest.verify().unwrap();
        let kept: Vec<String> = manifest
            .signatures()
            .into_iter()
            .map(|signature| String::from_utf8(signature).unwrap())
            .collect();
        assert_eq!(kept, blobs, "each is written as it was read");
    }
}

#[test]
fn signatures_of_several_keys_on_one_payload_are_merged() {
    let document = fixture("schema1/valid-two-signatures.json");
    let both = SignedManifest::parse(&document).unwrap();
    let of = |index: usize| {
        SignedManifest::assemble(both.payload(), [both.signatures()[index].as_slice()]).unwrap()
    };
    let mut merged = of(1);
    merged.merge(&of(0));
    merged.merge(&of(1));
    assert_eq!(merged.signature_count(), 2);
    assert_eq!(merged.document(), document);
}

#[test]
fn what_is_signed_here_is_verified_and_is_the_same_each_time() {
    let key = SigningKey::random().unwrap();
    let again = SigningKey::from_jwk(&key.to_jwk()).unwrap();
    assert_eq!(again.id(), key.id());
    for name in ["valid-es256", "valid-compact", "valid-trailing-newlines"] {
        let document = fixture(&format!("schema1/{name}.json"));
        let payload = SignedManifest::parse(&document).unwrap().payload().to_vec();
        let at = SystemTime::UNIX_EPOCH;
        let signed = SignedManifest::sign(&payload, &key, at).unwrap().document();
        let (manifest, keys) = judge(&signed).unwrap();
        assert_eq!((manifest.payload(), keys), (&*payload, vec![key.id().to_string()]));
        let (is, was) = (SignedManifest::sign(&payload, &again, at).unwrap().document(), signed);
        assert_eq!(String::from_utf8_lossy(&is), String::from_utf8_lossy(&was));
    }
    assert!(SigningKey::from_jwk(b"{}").is_err());
}

#[test]
fn no_flipped_bit_of_a_payload_is_accepted() {
    for name in ["valid-es256", "valid-es384", "valid-rs256", "valid-compact", "valid-x5c-es256"] {
        let document = fixture(&format!("schema1/{name}.json"));
        let end = head_length(SignedManifest::parse(&document).unwrap().payload()).unwrap();
        for index in 0..end {
            let mut flipped = document.clone();
            flipped[index] ^= 1 << (index % 8);
            assert!(judge(&flipped).is_err(), "{name}: byte {index}");
        }
    }
}

#[test]
fn a_list_in_place_of_an_object_is_no_document() {
    let document = fixture("schema1/jws-form-0.json");
    let jws: Value = serde_json::from_slice(&document).unwrap();
    let list = serde_json::to_vec(&[&jws["payload"], &jws["signatures"]]).unwrap();
    assert!(matches!(SignedManifest::parse(&list), Err(Error::ManifestInvalid(_))));
}

#[test]
fn what_is_signed_has_no_members_that_the_document_has() {
    let key = SigningKey::random().unwrap();
    for member in ["signatures", "payload"] {
        let payload = format!(r#"{{"schemaVersion":1,"{member}":null}}"#);
        let signed = SignedManifest::sign(payload.as_bytes(), &key, SystemTime::UNIX_EPOCH);
        assert!(matches!(signed, Err(Error::ManifestInvalid(_))), "{member}");
    }
}

#[test]
fn an_unsigned_member_beside_a_payload_in_base64_is_refused() {
    let document = fixture("schema1/jws-form-0.json");
    let mut jws: Value = serde_json::from_slice(&document).unwrap();
    jws["architecture"] = "evil".into();
    assert!(SignedManifest::parse(&serde_json::to_vec(&jws).unwrap()).is_err());
}

proptest! {
    #[test]
    fn no_change_of_a_document_crashes_the_reader(
        index in any::<prop::sample::Index>(), bytes: Vec<u8>, cut in 0_usize..40,
    ) {
        let mut document = fixture("schema1/valid-two-signatures.json");
        let start = index.index(document.len());
        let end = (start + cut).min(document.len());
        document.splice(start..end, bytes);
        // Whatever is accepted says nothing but what was signed.
        if let Ok((manifest, _)) = judge(&document) {
            prop_assert_eq!(
                manifest.digest(),
                SignedManifest::parse(&fixture("schema1/valid-two-signatures.json"))
                    .unwrap()
                    .digest()
            );
        }
    }
}

/// A member of a signature's header, or of its protected header, that may be anything.
fn any_member() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..70)
            .prop_map(|bytes| Value::from(BASE64URL_NOPAD.encode(&bytes))),
        Just(serde_json::json!(["", {"a": []}])),
    ]
}

/// Where a signature can be changed, as JSON pointers; those of the protected header begin with `P`.
const PLACES: [&str; 12] = [
    "/header",
    "/header/alg",
    "/header/jwk",
    "/header/jwk/kty",
    "/header/jwk/crv",
    "/header/jwk/x",
    "/header/jwk/kid",
    "/header/x5c",
    "/signature",
    "/protected",
    "P/formatLength",
    "P/formatTail",
];

proptest! {
    #[test]
    fn no_member_of_a_signature_crashes_the_reader(
        place in prop::sample::select(&PLACES[..]), value in any_member(), x5c: bool,
    ) {
        let name = if x5c { "valid-x5c-es256" } else { "valid-es256" };
        let good = SignedManifest::parse(&fixture(&format!("schema1/{name}.json"))).unwrap();
        let mut block: Value = serde_json::from_slice(&good.signatures()[0]).unwrap();
        let set = |json: &mut Value, pointer: &str| {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            if let Some(Value::Object(members)) = json.pointer_mut(parent) {
                members.insert(member.to_owned(), value.clone());
            }
        };
        if let Some(pointer) = place.strip_prefix('P') {
            let text = BASE64URL_NOPAD.decode(text(&block, "protected").as_bytes()).unwrap();
            let mut protected: Value = serde_json::from_slice(&text).unwrap();
            set(&mut protected, pointer);
            block["protected"] = BASE64URL_NOPAD.encode(protected.to_string().as_bytes()).into();
        } else {
            set(&mut block, place);
        }
        let block = block.to_string();
        // A name or a certificate that is left out is no change of what was signed.
        if let Ok(changed) = SignedManifest::assemble(good.payload(), [block.as_bytes()])
            && let Ok(keys) = changed.verify()
        {
            prop_assert_eq!(keys, good.verify().unwrap());
        }
    }

    #[test]
    fn what_is_signed_is_read_back_whatever_it_says(
        names in prop::collection::btree_set("[a-z\"\\\\é<>&]{1,8}", 1..6),
        value in any_member(), pretty: bool, end in "[ \n]{0,3}",
    ) {
        let members = names.into_iter().map(|name| (name, value.clone()));
        let members: serde_json::Map<String, Value> = members.collect();
        let text = if pretty {
            serde_json::to_string_pretty(&members).unwrap()
        } else {
            serde_json::to_string(&members).unwrap()
        };
        let payload = text + &end;
        let key = SigningKey::random().unwrap();
        let signed = SignedManifest::sign(payload.as_bytes(), &key, SystemTime::UNIX_EPOCH).unwrap();
        let (read, keys) = judge(&signed.document()).unwrap();
        prop_assert_eq!((read.payload(), keys), (payload.as_bytes(), vec![key.id().to_string()]));
    }
}
