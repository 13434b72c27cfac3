// What a deployment without an editor needs, and nothing else.
module.exports = {
  flowFile: "flows.json",
  credentialSecret: false,
  httpAdminRoot: false,
  disableEditor: true,
  externalModules: { autoInstall: false, palette: { allowInstall: false } },
  telemetry: { enabled: false },
  logging: { console: { level: "warn" } },
};
