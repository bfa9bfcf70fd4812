"""Reading a site: fetching its pages safely and politely, and keeping them as they came."""
