//! `reveille-load SCENARIO.yaml`: HTTP load testing.

fn main() -> std::process::ExitCode {
    reveille_load::program::main()
}
