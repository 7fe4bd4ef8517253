//! Images through the client.

use crate::support::Fixture;

#[tokio::test]
async fn load_list_tag_inspect_history_remove() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.load(&["busybox:latest", "localhost:5000/a/b:1"]).await.lines().count(), 2);
    let list = fixture.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).await;
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains("localhost:5000/a/b:1"));
    fixture.ok(&["tag", "busybox", "other:2"]).await;
    let id =
        fixture.ok(&["inspect", "--format", "{{.Id}} {{json .Config.Cmd}}", "localhost:5000/a/b:1"]).await;
    assert!(id.starts_with("sha256:") && id.ends_with("[\"true\"]\n"), "{id}");
    let history = fixture.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "other:2"]).await;
    assert_eq!(history, "COPY true /bin\n");
    let by_label =
        fixture.ok(&["images", "-q", "--filter", "label=made=here", "--filter", "reference=oth*"]).await;
    assert_eq!(by_label.lines().count(), 1);

    let refused = fixture.run(&["rmi", &id[7..19]]).await;
    assert!(refused.stderr.contains("(must be forced) - image is referenced in multiple repositories"));
    assert_eq!(fixture.ok(&["rmi", "other:2", "localhost:5000/a/b:1"]).await.matches("Untagged:").count(), 2);
    let last = fixture.ok(&["rmi", "busybox"]).await;
    assert!(
        last.contains("Untagged: busybox:latest") && last.matches("Deleted: sha256:").count() == 2,
        "{last}"
    );
    assert_eq!(fixture.ok(&["images", "-aq"]).await, "");
}

#[tokio::test]
async fn what_a_container_stands_on_is_kept() {
    let fixture = Fixture::start().await;
    fixture.load(&["busybox:latest"]).await;
    fixture.ok(&["create", "--name", "user", "busybox"]).await;
    let refused = fixture.run(&["rmi", "busybox"]).await;
    assert!(
        refused.stderr.contains("unable to remove repository reference \"busybox\" (must force)"),
        "{}",
        refused.stderr
    );
    fixture.ok(&["rmi", "-f", "busybox"]).await;
    fixture.ok(&["rm", "user"]).await;
}

#[tokio::test]
async fn bad_archives_and_missing_images_are_explained() {
    let fixture = Fixture::start().await;
    let file = fixture.path("bad.tar");
    std::fs::write(&file, "this is not an archive".repeat(100)).unwrap();
    let bad = fixture.run(&["load", "-i", file.to_str().unwrap()]).await;
    assert!(!bad.ok && bad.stderr.contains("not a tar archive"), "{}", bad.stderr);
    let missing = fixture.run(&["image", "inspect", "nope"]).await;
    assert!(missing.stderr.contains("No such image: nope"), "{}", missing.stderr);
    // Nobody listens on port 1.
    let pull = fixture.run(&["run", "--rm", "localhost:1/nope", "true"]).await;
    assert!(
        pull.stderr.contains("Unable to find image 'localhost:1/nope:latest' locally"),
        "{}",
        pull.stderr
    );
    assert!(pull.stderr.contains("refused"), "{}", pull.stderr);
}
