"""Device and circuit physics behind the analog ports of the gateware; its first rooms come with the memristor cores."""
