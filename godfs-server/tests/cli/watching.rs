//! Changes on the command line.

use serde_json::Value;

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_shown_from_any_place_on() {
    let world = World::new().await;
    world.write("five", "12345");
    for line in ["mkdir -p /in/below", "put five /in/f", "mkdir /out", "mv /in/f /out/g"] {
        world.ok(line).await;
    }
    let text = world.ok("watch /in --from oldest --count 4").await;
    let lines: Vec<_> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    assert!(lines.iter().all(|(time, _)| time.ends_with('Z')), "{text}");
    let words: Vec<_> = lines.iter().map(|(_, words)| *words).collect();
    assert_eq!(words[..2], ["made_directory /in", "made_directory /in/below"]);
    assert!(words[2].starts_with("created /in/f"), "{text}");
    assert!(words.contains(&"renamed /in/f -> /out/g"), "{text}");

    world.ok("rm -r --skip-trash /in").await;
    let json = world.ok("watch / --from oldest --count 6 --json").await;
    let changes: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&changes[0]["change"], &changes[0]["kind"]), (&"made_directory".into(), &"directory".into()));
    let moved = changes.iter().position(|change| change["change"] == "renamed").expect("moved");
    assert_eq!((&changes[moved]["path"], &changes[moved]["to"]), (&"/in/f".into(), &"/out/g".into()));
    let place = changes[moved]["place"].as_str().expect("a place");
    let rest = world.ok(&format!("watch / --from {place} --count 1 --json")).await;
    let rest: Value = serde_json::from_str(&rest).expect("JSON");
    assert_eq!((&rest["change"], &rest["path"]), (&"removed".into(), &"/in".into()));

    world.fails("watch /none", 3).await;
    let gone = world.fails("watch / --from 000102030405060708090a0b0c0d0e0f-1-0", 5).await;
    assert!(gone.contains("list again"), "{gone}");
    world.fails("watch / --from yesterday", 2).await;
}
