//! What scripts for docker-machine pass: every option of its five drivers (and of Rancher's copy of one), under
//! its name, its environment variable and with a value of its kind.

use machine_drivers::OptionKind;

/// Extracted from those drivers: name, variable or `-`, kind.
const OPTIONS: &str = include_str!("docker_machine_options.txt");

#[test]
fn its_options_are_known() {
    let drivers = driver_cloud::drivers();
    let ours: Vec<_> = drivers.iter().flat_map(|driver| driver.options()).collect();
    for line in OPTIONS.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, variable, kind] = words[..] else { panic!("{line}") };
        let option = ours.iter().find(|option| option.name == name).unwrap_or_else(|| panic!("--{name}"));
        let fits = match option.kind {
            OptionKind::Flag => kind == "flag",
            OptionKind::Number(_) => kind == "number",
            OptionKind::List => kind == "list",
            OptionKind::Text(_) | OptionKind::Secret => kind == "text",
        };
        assert!(fits, "--{name} takes a {kind}");
        assert!(variable == "-" || option.env == Some(variable), "--{name} is read from {variable}");
    }
}
