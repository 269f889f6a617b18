"""The Keras API, by keras.applications' conventions. Users import it from `autonl_tf`, which loads it when used."""
