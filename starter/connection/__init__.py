"""How our programs connect to Temporal: the plugin with converter, encryption and interceptors."""
