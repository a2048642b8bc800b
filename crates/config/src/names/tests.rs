use super::*;

#[test]
fn suggests_what_is_close() {
    let of = |scope, name| suggestion(scope, name);
    assert_eq!(of(CONN, "proposal").as_deref(), Some("proposals"));
    assert_eq!(of(CONN, "remote-addrs").as_deref(), Some("remote_addrs"));
    assert_eq!(of(CHILD, "esp_porposals").as_deref(), Some("esp_proposals"));
    assert_eq!(of(TOP, "conections").as_deref(), Some("connections"));
    assert_eq!(of(CONN, "frobnicate"), None);
    assert_eq!(of(CONN, ""), None);
    assert_eq!(edits("ab", "ba"), 1);
    assert_eq!(edits("", "abc"), 3);
}

#[test]
fn no_key_is_listed_twice_and_each_has_a_sentence() {
    for (n, doc) in TABLE.iter().enumerate() {
        assert!(!TABLE[..n].iter().any(|d| (d.scope, d.key) == (doc.scope, doc.key)), "{}", doc.key);
        assert!(doc.doc.ends_with('.'), "{}", doc.key);
    }
}

#[test]
fn finds_suffixes() {
    assert!(find(CONN, "local-1", true).is_some());
    assert!(find(CONN, "local-1", false).is_none());
    assert!(find(SECRET, "id-3a", false).is_some());
    assert_eq!(find(CONN, "local_addrs", false).map(|d| d.key), Some("local_addrs"));
}
