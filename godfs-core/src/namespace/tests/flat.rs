//! Flat listings: the keys of a tree in the order of their bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

impl Fixture {
    /// All keys, read in pages of at most so many; what many begin with ends in a slash.
    async fn keys(&self, options: &FlatOptions, limit: usize) -> Vec<String> {
        let mut options = options.clone();
        let mut keys = Vec::new();
        loop {
            let page = self.namespace.keys(at("/r"), options.clone(), limit).await.unwrap();
            assert!(page.entries.len() <= limit);
            for entry in page.entries {
                assert_eq!(entry.status.is_none(), entry.key.ends_with('/'), "{}", entry.key);
                keys.push(entry.key);
            }
            match page.next {
                Some(next) => {
                    assert!(next > options.after, "it goes on");
                    options.after = next;
                }
                None => return keys,
            }
        }
    }

    async fn tree(&self, keys: &BTreeSet<String>) -> BTreeSet<String> {
        self.mkdir("/r").await;
        let mut made = BTreeSet::new();
        let options = CreateOptions { parents: true, ..Default::default() };
        for key in keys {
            let path = at(&format!("/r/{key}"));
            if self.namespace.put(self.call(), path, options.clone(), Bytes::new()).await.is_ok() {
                made.insert(key.clone());
            }
        }
        made
    }
}

/// What a flat store would list.
fn expected(keys: &BTreeSet<String>, options: &FlatOptions) -> Vec<String> {
    let FlatOptions { prefix, after, delimited, hide } = options;
    let hidden = |key: &str| hide.as_ref().is_some_and(|hide| key.split('/').any(|name| name == hide));
    let mut found = BTreeSet::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix) && *key > after && !hidden(key)) {
        let cut = if *delimited { key[prefix.len()..].find('/') } else { None };
        match cut {
            Some(slash) => {
                let common = &key[..=prefix.len() + slash];
                if common != after {
                    found.insert(common.to_owned());
                }
            }
            None => drop(found.insert(key.clone())),
        }
    }
    found.into_iter().collect()
}

fn sorted(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}

#[tokio::test]
async fn a_slash_is_a_byte_like_others() {
    let fixture = Fixture::new(1).await;
    let keys = sorted(&["a/b", "a.b", "a b/c", "a/b.c/d", "a0", "a.b.c", "a!/x", "a!.y", "b", "a-/-a/-"]);
    assert_eq!(fixture.tree(&keys).await, keys);
    let in_order: Vec<String> = keys.iter().cloned().collect();
    assert_eq!(in_order[..3], ["a b/c", "a!.y", "a!/x"]);
    for limit in [1, 2, 3, 100] {
        assert_eq!(fixture.keys(&FlatOptions::default(), limit).await, in_order, "{limit} a page");
    }
    let delimited = FlatOptions { delimited: true, ..Default::default() };
    assert_eq!(fixture.keys(&delimited, 2).await, ["a b/", "a!.y", "a!/", "a-/", "a.b", "a.b.c", "a/", "a0", "b"]);
}

/// A page that began behind `b/a` named `b/`, which is in front of that, as the place to go on: the listing went back.
#[tokio::test]
async fn a_page_that_begins_within_a_directory_goes_on_behind_it() {
    let fixture = Fixture::new(1).await;
    fixture.tree(&sorted(&["b/a", "b/b", "c"])).await;
    let options = FlatOptions { after: "b/a".into(), delimited: true, ..Default::default() };
    assert_eq!(fixture.keys(&options, 1).await, ["b/", "c"]);
}

#[tokio::test]
async fn only_files_show() {
    let fixture = Fixture::new(1).await;
    fixture.tree(&sorted(&["d/f", "e/.up/part", "x/y/.up", "z"])).await;
    fixture.mkdir("/r/empty/below").await;
    fixture.mkdir("/r/linked").await;
    for path in ["/r/l", "/r/linked/l"] {
        let link = Symlink { path: at(path), target: "/r/z".into() };
        fixture.namespace.symlink(fixture.call(), link).await.unwrap();
    }
    let options = FlatOptions { hide: Some(".up".into()), ..Default::default() };
    assert_eq!(fixture.keys(&options, 10).await, ["d/f", "z"]);
    let delimited = FlatOptions { delimited: true, ..options };
    assert_eq!(fixture.keys(&delimited, 10).await, ["d/", "z"]);
    let page = fixture.namespace.keys(at("/r"), FlatOptions::default(), 100).await.unwrap();
    let status = fixture.stat("/r/z").await.unwrap();
    assert_eq!(page.entries.last().unwrap().status.as_ref(), Some(&status));
    fixture.namespace.trash(fixture.call(), at("/r/d"), true).await.unwrap();
    let all = fixture.namespace.keys(at("/"), FlatOptions::default(), 100).await.unwrap();
    assert!(all.entries.iter().all(|entry| entry.key.starts_with("r/")), "the trash does not show: {all:?}");
    let missing = fixture.namespace.keys(at("/no"), FlatOptions::default(), 1).await;
    refused(missing, ErrorKind::NotFound, "/no does not exist");
    let file = fixture.namespace.keys(at("/r/z"), FlatOptions::default(), 1).await;
    refused(file, ErrorKind::NotADirectory, "/r/z is a file");
}

#[tokio::test]
async fn who_may_not_list_a_directory_is_told() {
    let fixture = Fixture::new(1).await;
    fixture.tree(&sorted(&["a/f", "closed/f", "z"])).await;
    fixture.namespace.set_mode(fixture.call(), at("/r/closed"), 0o700).await.unwrap();
    let alice = fixture.namespace.by(Caller::new("alice", ["users"]).unwrap());
    let all = alice.keys(at("/r"), FlatOptions::default(), 10).await;
    refused(all, ErrorKind::PermissionDenied, "/r/closed");
    let before = FlatOptions { prefix: "a".into(), ..Default::default() };
    assert_eq!(alice.keys(at("/r"), before, 10).await.unwrap().entries.len(), 1);
}

/// A directory of many names that do not show takes several pages, which may be empty.
#[tokio::test]
async fn a_page_looks_at_a_bounded_number_of_names() {
    let fixture = Fixture::new(1).await;
    fixture.tree(&sorted(&["a", "z"])).await;
    for number in 0..9_000 {
        let link = Symlink { path: at(&format!("/r/l{number}")), target: "x".into() };
        fixture.namespace.symlink(fixture.call(), link).await.unwrap();
    }
    let page = fixture.namespace.keys(at("/r"), FlatOptions::default(), 100).await.unwrap();
    assert_eq!((page.entries.len(), page.next.is_some()), (1, true));
    assert_eq!(fixture.keys(&FlatOptions::default(), 100).await, ["a", "z"]);
}

fn keys() -> impl Strategy<Value = BTreeSet<String>> {
    let name =
        proptest::collection::vec(prop_oneof!["a", "b", "\\.", "!", "0", "é"], 1..4).prop_map(|name| name.concat());
    let key = proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let valid = |key: &String| key.split('/').all(|name| name != "." && name != "..");
    proptest::collection::btree_set(key.prop_filter("no path", valid), 0..30)
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "\\.", "!", "0", "/", "é"], 0..6).prop_map(|text| text.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_listing_is_that_of_a_flat_store(
        keys in keys(),
        prefix in prop_oneof![Just(String::new()), text()],
        after in prop_oneof![Just(String::new()), text()],
        delimited in any::<bool>(),
        limit in 1..5_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new(1).await;
            let made = fixture.tree(&keys).await;
            let options = FlatOptions { prefix, after, delimited, hide: Some("0".into()) };
            assert_eq!(fixture.keys(&options, limit).await, expected(&made, &options), "{options:?} of {made:?}");
        });
    }
}
